"""What the page says when something is away, and that it goes on by itself: services, the network, tokens, credits, room."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from pingvas.generation.v1 import job_pb2
from playwright.async_api import Locator, Page, Route, expect

from tests.e2e.stage import Stage
from tests.web.conftest import Tab
from tests.web.test_generate import prompt_of


def connection_notice(page: Page) -> Locator:
    return page.get_by_text("No connection. Trying again…")


@contextmanager
def working_long(studio: Stage) -> Iterator[None]:
    """Keeps the worker busy for as long as the block runs, on any machine."""
    busy = studio.person("enterprise")
    job = busy.create("a green triangle", step_count=150, width_px=1024, height_px=1024, image_count=4)
    busy.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    yield
    busy.cancel(job.job_id)


@contextmanager
def without(studio: Stage, service: str) -> Iterator[None]:
    """Has a service killed and away while the block runs, and back behind it, whatever happens."""
    studio.fleet.kill(service, keep_down=True)
    try:
        yield
    finally:
        studio.fleet.start_again(service)


async def draw(page: Page, prompt: str) -> None:
    await prompt_of(page).fill(prompt)
    await page.get_by_role("button", name="Generate Ctrl+Enter").click()


async def test_killed_service_is_told_and_the_running_job_shown_again(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.sign_in(person)
    tab.expects_faults = True
    with working_long(studio):
        job = person.create("a green triangle")
        await expect(tab.page.locator("li[data-state=QUEUED]")).to_have_count(1)
        with without(studio, "svc_generation"):
            await expect(connection_notice(tab.page)).to_be_visible()
            await draw(tab.page, "a red circle")
            await expect(tab.page.get_by_role("alert")).to_contain_text("A part of the studio is away")
        await expect(connection_notice(tab.page)).to_have_count(0)
    assert person.end_of(job.job_id).state == job_pb2.JOB_STATE_COMPLETED
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(1)
    await tab.page.get_by_role("button", name="Generate Ctrl+Enter").click()
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(2)
    await expect(tab.page.get_by_role("alert")).to_have_count(0)


async def test_lost_network_is_told_and_what_happened_meanwhile_is_caught_up_with(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.sign_in(person)
    tab.expects_faults = True
    await expect(tab.page.get_by_text("Your pictures appear here")).to_be_visible()
    await tab.page.context.set_offline(True)
    await expect(connection_notice(tab.page)).to_be_visible()
    job = person.create("a red circle")
    person.end_of(job.job_id)
    await tab.page.context.set_offline(False)
    await expect(connection_notice(tab.page)).to_have_count(0)
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(1)


async def test_token_that_runs_out_is_renewed_without_a_word(tab: Tab, studio: Stage) -> None:
    renewals = 0

    async def shorten(route: Route) -> None:
        """Lets tokens run out in a second, and counts the answers that bring one."""
        nonlocal renewals
        renewals += 1
        answer = await route.fetch()
        tokens = {**await answer.json(), "expires_in": 1}
        await route.fulfill(response=answer, body=json.dumps(tokens))

    await tab.sign_in(studio.person())
    await tab.page.route("**/session/refresh", shorten)
    await tab.page.reload()
    await draw(tab.page, "a red circle")
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(1)
    grid = await tab.open_gallery()
    await expect(grid.get_by_role("img", name="a red circle")).to_be_visible()
    assert renewals > 1


async def test_missing_credits_are_told_with_what_is_needed(tab: Tab, studio: Stage) -> None:
    tab.expects_refusals = True
    await tab.sign_in(studio.person("free", has_credits=0))
    await draw(tab.page, "a red circle")
    await expect(tab.page.get_by_role("alert")).to_contain_text("Your balance doesn't cover this")


async def test_full_queue_is_told_and_takes_another_job_when_there_is_room(tab: Tab, studio: Stage) -> None:
    person = studio.person("free")
    tab.expects_refusals = True
    await tab.sign_in(person)
    with working_long(studio):
        jobs = [person.create("a green triangle") for _ in range(5)]
        await draw(tab.page, "a red circle")
        await expect(tab.page.get_by_role("alert")).to_be_visible()
        person.cancel(jobs[0].job_id)
        await tab.page.get_by_role("button", name="Generate Ctrl+Enter").click()
        await expect(tab.page.get_by_role("alert")).to_have_count(0)
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(5)


async def test_pictures_are_drawn_until_the_budget_is_used_up(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.sign_in(person)
    await prompt_of(tab.page).fill("a red circle")
    await tab.page.get_by_label("Size").select_option("256x256")
    await tab.page.get_by_text("Keep generating").click()
    await tab.page.get_by_label("Budget in credits").fill("2")
    await tab.page.get_by_role("button", name="Start", exact=True).click()
    await expect(tab.page.get_by_text("There is no room for another one in the budget.")).to_be_visible()
    drawn = await tab.page.locator("li[data-state=COMPLETED]").count()
    assert drawn >= 1
    spent = 1_000_000 - float(person.balance().available)
    assert 0 < spent <= 2
    await expect(tab.page.get_by_text(f"Jobs: {drawn} ·")).to_be_visible()
