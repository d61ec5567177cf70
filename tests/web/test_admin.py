"""Administration in a browser: people and what they may, the live queue, workers, jobs, models, and the platform's state."""

from pingvas.generation.v1 import job_pb2
from pingvas.payment.v1 import enterprise_service_pb2
from pingvas.payment.v1.enterprise_service_pb2_grpc import EnterpriseServiceStub
from playwright.async_api import Page, expect

from studio.stack.administrator import ensure_administrator
from tests.e2e.stage import CALL_SECONDS, PASSWORD, PATIENCE_SECONDS, Person, Stage
from tests.harness_browser import PATIENCE_MS
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings
from tests.web.test_accounts import sign_in
from tests.web.test_faults import without, working_long


async def enter(page: Page, studio: Stage, section: str = "People") -> None:
    """Signs the stack's administrator in, and opens a section of the administration."""
    administrator = ensure_administrator(studio.fleet.layout.keys)
    await sign_in(page, administrator.email, administrator.password)
    await page.get_by_role("link", name="Admin", exact=True).click()
    sections = page.get_by_role("navigation", name="Administration")
    await sections.get_by_role("link", name=section, exact=True).click()


async def manage(page: Page, person: Person) -> None:
    """Finds somebody, and opens what may be done with their account."""
    await page.get_by_role("searchbox", name="Start of an address or name, or an id").fill(person.email)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name=f"Manage {person.email}").click()
    await page.get_by_role("dialog", name=person.email).wait_for()


async def test_credits_and_tier_that_an_administrator_gives_are_there_at_once(
    tab: Tab, stranger: Tab, studio: Stage
) -> None:
    person = studio.person("free", has_credits=5)
    await stranger.sign_in(person)
    await expect(stranger.page.get_by_title("Credits that you can spend")).to_have_text("5 credits")

    page = tab.page
    await enter(page, studio)
    await manage(page, person)
    await page.get_by_label("Give credits").fill("37.5")
    await page.get_by_role("button", name="Give", exact=True).click()
    await expect(page.get_by_text("37.5 credits were given.")).to_be_visible()
    await expect(page.get_by_role("button", name="Give", exact=True)).to_be_disabled()
    dialog = page.get_by_role("dialog", name=person.email)
    await dialog.get_by_label("Tier").select_option("Studio")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("row", name=person.email)).to_contain_text("Studio")
    assert person.balance().available == "42.500"

    await stranger.page.reload()
    await expect(stranger.page.get_by_title("Credits that you can spend")).to_have_text("42.5 credits")


async def test_suspended_account_is_out_until_it_is_reinstated(tab: Tab, stranger: Tab, studio: Stage) -> None:
    person = studio.person()
    stranger.expects_refusals = True
    page = tab.page
    await enter(page, studio)
    await manage(page, person)
    await page.get_by_label("Reason to suspend the account").fill("sends spam")
    await page.get_by_role("button", name="Suspend", exact=True).click()
    dialog = page.get_by_role("dialog", name=person.email)
    await expect(dialog.get_by_text("Suspended: sends spam")).to_be_visible()

    await sign_in(stranger.page, person.email, PASSWORD)
    await expect(stranger.page.get_by_text("This account is suspended.")).to_be_visible()

    await dialog.get_by_role("button", name="End the suspension").click()
    await expect(dialog.get_by_label("Reason to suspend the account")).to_be_visible()
    await dialog.get_by_role("link", name="What was done to this account").click()
    await expect(page.get_by_role("listitem").filter(has_text="The suspension was ended")).to_have_count(1)
    await expect(page.get_by_role("listitem").filter(has_text="The account was suspended")).to_have_count(1)

    await stranger.page.get_by_role("button", name="Sign in", exact=True).click()
    await stranger.page.get_by_label("Prompt", exact=True).wait_for()


async def test_queue_workers_and_a_job_of_somebody_are_followed_live(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await enter(page, studio, "Queue and workers")
    starter = page.get_by_role("row", name="Starter")
    await expect(starter.get_by_role("cell").first).to_have_text("0")
    with working_long(studio):
        person = studio.person("starter")
        job = person.create("waits behind another")
        await expect(starter.get_by_role("cell").first).to_have_text("1")
        await expect(page.get_by_role("row", name="Enterprise").get_by_role("cell").nth(1)).to_have_text("1")
        await expect(page.get_by_text("Works on")).to_be_visible()
        person.cancel(job.job_id)
        await expect(starter.get_by_role("cell").first).to_have_text("0")

    done = person.create("a red circle")
    assert person.end_of(done.job_id).state == job_pb2.JOB_STATE_COMPLETED
    await page.get_by_role("link", name="Jobs", exact=True).click()
    await page.get_by_role("searchbox", name="Id of a job").fill(done.job_id)
    await page.keyboard.press("Enter")
    happened = page.get_by_role("region", name="What happened")
    await expect(happened.get_by_role("listitem")).to_contain_text(
        ["Accepted", "Attempt 1 began on", "Attempt 1 ended: completed", "Completed"]
    )
    await page.get_by_role("link", name=str(person.account_id)).click()
    await expect(page.get_by_role("row", name=person.email)).to_be_visible()


async def test_a_tier_is_paused_for_a_reason_and_resumed(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await enter(page, studio, "Queue and workers")
    starter = page.get_by_role("row", name="Starter")
    await page.get_by_role("button", name="Pause Starter").click()
    await page.get_by_label("Reason, for other administrators").fill("a faulty driver")
    await page.get_by_role("button", name="Yes, let its jobs wait").click()
    await expect(starter).to_contain_text("a faulty driver")
    person = studio.person("starter")
    job = person.create("a patient circle")
    await expect(starter.get_by_role("cell").first).to_have_text("1")
    await page.get_by_role("button", name="Resume Starter").click()
    await expect(starter).not_to_contain_text("a faulty driver")
    assert person.end_of(job.job_id).state == job_pb2.JOB_STATE_COMPLETED


async def test_ledger_is_audited_on_demand(tab: Tab, studio: Stage) -> None:
    await enter(tab.page, studio, "Ledger")
    await tab.page.get_by_role("button", name="Audit the ledger").click()
    await expect(tab.page.get_by_text("Every credit is accounted for.")).to_be_visible()


async def test_nobody_else_finds_the_administration(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    await expect(tab.page.get_by_role("link", name="Admin", exact=True)).to_have_count(0)
    await tab.page.goto("/admin/people")
    await expect(tab.page.get_by_text("This page is for administrators and support.")).to_be_visible()


async def test_status_of_each_part_needs_no_account(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await page.goto("/status")
    await expect(page.get_by_text("Everything works.")).to_be_visible()
    models = page.get_by_role("listitem").filter(has_text="The catalogue of models")
    await expect(models).to_contain_text("Works")
    with without(studio, "svc_models"):
        await expect(models).to_contain_text("Doesn't work")
        await expect(page.get_by_text("A part of the platform doesn't work at the moment.")).to_be_visible()
    await expect(page.get_by_text("Everything works.")).to_be_visible()


async def test_administration_has_no_serious_findings(tab: Tab, studio: Stage) -> None:
    page = tab.page
    person = studio.person()
    await enter(page, studio)
    await manage(page, person)
    findings = await grave_findings(page, "person")
    await page.keyboard.press("Escape")
    findings += await grave_findings(page, "people")
    await page.get_by_role("link", name="Queue and workers").click()
    await page.get_by_role("table", name="Queue").wait_for()
    await page.get_by_role("button", name="Drain").first.wait_for()
    findings += await grave_findings(page, "queue")
    await page.get_by_role("link", name="Health").click()
    await page.get_by_text("Everything works.").wait_for()
    findings += await grave_findings(page, "health")
    assert findings == []


async def test_who_asked_for_the_enterprise_plan_gets_a_contract(tab: Tab, studio: Stage) -> None:
    person = studio.person("free", has_credits=5)
    wish = enterprise_service_pb2.RequestEnterpriseRequest(
        request_id="once", company="Sea & Sons", contact="the harbour office", message="100,000 pictures a month"
    )
    EnterpriseServiceStub(studio.channel).RequestEnterprise(wish, timeout=CALL_SECONDS, metadata=person.metadata)
    tab.expects_refusals = True
    page = tab.page
    await enter(page, studio, "Enterprise requests")
    lead = page.get_by_role("listitem").filter(has_text=str(person.account_id))
    await expect(lead).to_contain_text("100,000 pictures a month")
    findings = await grave_findings(page, "leads")
    await lead.get_by_role("button", name="Activate a contract with Sea & Sons").click()
    dialog = page.get_by_role("dialog", name="Contract with Sea & Sons")
    await dialog.get_by_label("Reference in our books").fill("SEA-1")
    await dialog.get_by_label("Last day").fill("2020-01-01")
    await dialog.get_by_label("Credits for the whole term").fill("1000")
    await dialog.get_by_label("Price").fill("1234.56")
    await dialog.get_by_label("Jobs at the same time").fill("40")
    await dialog.get_by_role("button", name="Activate a contract").click()
    await expect(dialog.get_by_label("Last day")).to_have_attribute("aria-invalid", "true")
    await expect(dialog.get_by_role("alert")).to_contain_text("must be in the future")
    findings += await grave_findings(page, "contract")

    await dialog.get_by_label("Last day").fill("2099-12-31")
    await dialog.get_by_role("button", name="Activate a contract").click()
    await expect(dialog.get_by_text("Contract SEA-1 counts from now on, until December 31, 2099.")).to_be_visible()
    assert person.balance().available == "1005.000"
    await dialog.get_by_role("button", name="Close").click()

    await lead.get_by_role("button", name="Activate a contract with Sea & Sons").click()
    await dialog.get_by_label("Reference in our books").fill("SEA-1")
    await dialog.get_by_label("Last day").fill("2099-12-31")
    await dialog.get_by_label("Credits for the whole term").fill("2000")
    await dialog.get_by_label("Price").fill("1")
    await dialog.get_by_role("button", name="Activate a contract").click()
    await expect(dialog.get_by_label("Reference in our books")).to_have_attribute("aria-invalid", "true")
    await expect(dialog.get_by_role("alert")).to_have_text("This reference names a contract with other terms.")
    assert person.balance().available == "1005.000"
    assert findings == []


async def test_models_are_listed_with_the_workers_that_hold_them_and_in_both_languages(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    assert person.end_of(person.create("a red circle").job_id).state == job_pb2.JOB_STATE_COMPLETED
    page = tab.page
    await enter(page, studio, "Models")
    await expect(page.get_by_role("row").filter(has_text="pingvas-tiny").first).to_contain_text("worker-0")
    findings = await grave_findings(page, "models")
    await page.evaluate("localStorage.setItem('pingvas.language', 'ko')")
    await page.reload()
    await expect(page.get_by_role("columnheader", name="메모리에 올린 워커")).to_be_visible()
    await page.get_by_role("link", name="엔터프라이즈 문의", exact=True).click()
    await expect(page.get_by_role("link", name="엔터프라이즈 문의", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    assert findings == []


async def test_drained_worker_finishes_and_is_back(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await enter(page, studio, "Queue and workers")
    with working_long(studio):
        await expect(page.get_by_text("Works on")).to_be_visible()
        await page.get_by_role("button", name="Drain", exact=True).click()
        await page.get_by_role("button", name="Yes, drain it").click()
        # For as long as it works: it isn't gone before it has finished.
        await expect(page.get_by_text("It takes no more jobs, and ends when it has finished.")).to_be_visible()
        await expect(page.get_by_text("Works on")).to_be_visible()
    # It ends behind its job, and its supervisor starts another in its place, which takes jobs.
    drain = page.get_by_role("button", name="Drain", exact=True)
    await expect(drain).to_be_visible(timeout=5 * PATIENCE_MS)
    person = studio.person()
    done = person.end_of(person.create("a red circle").job_id, within_seconds=5 * PATIENCE_SECONDS)
    assert done.state == job_pb2.JOB_STATE_COMPLETED
