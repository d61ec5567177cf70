"""Webhooks on the account page: registered, tried out, and what became of each delivery."""

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from tests.e2e.stage import Stage
from tests.fakes.webhook_receiver import Receiver
from tests.web.conftest import Tab


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


async def test_endpoint_is_registered_tried_out_and_deleted(tab: Tab, studio: Stage, receiver: Receiver) -> None:
    receiver.answers.append((500, {}))
    page = tab.page
    await tab.sign_in(studio.person())
    await page.goto("/account")
    section = page.get_by_role("region", name="Webhooks")
    await section.get_by_label("Address").fill(receiver.url)
    await section.get_by_role("button", name="Register the address").click()
    secret = await section.get_by_text(re.compile("^whsec_")).inner_text()
    endpoint = section.get_by_role("listitem", name=receiver.url)
    await expect(endpoint).to_contain_text("completed, failed, cancelled")

    await endpoint.get_by_role("button", name="Send a test").click()
    await expect(endpoint).to_contain_text("The endpoint answered 500.")
    await endpoint.get_by_role("button", name="Send again").click()
    await expect(endpoint).to_contain_text("accepted")
    assert [each.verify(secret)["type"] for each in receiver.received] == ["webhook.test"] * 2

    await endpoint.get_by_role("button", name="New secret").click()
    await expect(endpoint.get_by_text(re.compile("^whsec_"))).not_to_have_text(secret)
    await endpoint.get_by_role("button", name="Disable").click()
    await expect(endpoint).to_contain_text("· disabled")
    await endpoint.get_by_role("button", name="Delete").click()
    await expect(endpoint).to_have_count(0)
