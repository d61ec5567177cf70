"""The API's documentation in a browser: without the internet, under the page's own policy, which the tab listens to."""

import json

from playwright.async_api import Request, expect

from tests.web.conftest import Tab


async def test_documentation_shows_every_call_and_makes_one(tab: Tab) -> None:
    asked: list[str] = []

    def listen(request: Request) -> None:
        asked.append(request.url)

    tab.page.on("request", listen)
    await tab.page.goto("/docs")
    # What is far below is drawn when one comes there.
    await tab.page.get_by_placeholder("Filter by tag or path").fill("Auth")
    operation = tab.page.locator("#operations-Auth-AuthService_GetJwks")
    await operation.locator("button.opblock-summary-control").click()
    await operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .highlight-code code").first
    await expect(answer).to_contain_text("EC")
    assert json.loads(await answer.inner_text())["keys"][0]["kty"] == "EC"
    home = tab.page.url.split("/docs")[0]
    assert [url for url in asked if not url.startswith((home, "data:"))] == []
