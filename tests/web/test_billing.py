"""Plans and payments in a browser: from the price list through the provider's page to credits, and back out again."""

import asyncio
import re

from playwright.async_api import Page, expect

from tests.e2e.stage import Stage
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings


async def test_anybody_sees_what_everything_costs(tab: Tab) -> None:
    await tab.page.goto("/pricing")

    pro = tab.page.locator("[data-plan=pro]")
    await expect(pro).to_contain_text("$75 a month")
    await expect(pro).to_contain_text("15,000 credits a month")
    await expect(tab.page.locator("[data-plan=enterprise]")).to_contain_text("By contract")
    await expect(tab.page.locator("[data-pack=pack-1000]")).to_contain_text("$6")
    await pro.get_by_role("link", name="Subscribe").click()
    await expect(tab.page.get_by_label("E-mail address")).to_be_visible()


async def test_person_subscribes_buys_a_pack_cancels_and_resumes(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free", has_credits=0))
    await tab.page.get_by_role("link", name="Plan", exact=True).click()
    plan = tab.page.get_by_role("region", name="Your plan")
    await expect(plan).to_contain_text("free")

    await tab.page.locator("[data-plan=pro]").get_by_role("button", name="Subscribe").click()
    await _pay(tab.page, "$ 75.00 a month")
    await expect(plan).to_contain_text("pro")
    await expect(plan).to_contain_text("Renewed on")
    await expect(tab.page.get_by_text("15,000 credits", exact=True).first).to_be_visible()

    await tab.page.locator("[data-pack=pack-1000]").get_by_role("button", name="Buy").click()
    await _pay(tab.page, "$ 6.00")
    await expect(tab.page.get_by_text("16,000 credits", exact=True).first).to_be_visible()
    payments = tab.page.get_by_role("table", name="Payments")
    await expect(payments.get_by_role("row")).to_have_count(2)
    await expect(payments).to_contain_text("$75")
    movements = tab.page.get_by_role("table", name="Movements of credits").get_by_role("row")
    await expect(movements).to_have_count(2)
    async with tab.page.expect_download() as saved:
        await tab.page.get_by_role("button", name="Movements as CSV").click()
    file = await (await saved.value).path()
    lines = (await asyncio.to_thread(file.read_text, "utf-8-sig")).splitlines()
    assert lines[0].startswith("time,kind,description")
    assert len(lines) == 3
    await tab.page.get_by_role("combobox", name="Kind").select_option("Expired")
    await expect(movements).to_have_count(0)
    await expect(tab.page.get_by_text("No such movement.")).to_be_visible()

    await plan.get_by_role("button", name="Cancel the plan").click()
    await expect(plan).to_contain_text("Ends on")
    await plan.get_by_role("button", name="Keep the plan").click()
    await expect(plan).to_contain_text("Renewed on")
    await plan.get_by_role("button", name="Pause the plan").click()
    await expect(plan).to_contain_text("Paused")
    await plan.get_by_role("button", name="Go on with the plan").click()
    await expect(plan).to_contain_text("Renewed on")


async def test_person_moves_to_a_larger_and_a_smaller_plan(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free", has_credits=0))
    await tab.page.get_by_role("link", name="Plan", exact=True).click()
    await tab.page.locator("[data-plan=starter]").get_by_role("button", name="Subscribe").click()
    await _pay(tab.page, "$ 25.00 a month")
    plan = tab.page.get_by_role("region", name="Your plan")
    await expect(plan).to_contain_text("starter")

    await tab.page.locator("[data-plan=studio]").get_by_role("button", name="Move up now").click()
    await expect(plan).to_contain_text("studio")
    await expect(tab.page.get_by_text("30,000 credits", exact=True).first).to_be_visible()
    await tab.page.locator("[data-plan=pro]").get_by_role("button", name="Move at the renewal").click()
    await expect(plan).to_contain_text("Then: pro")


async def test_person_chooses_notices_and_reads_a_statement(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free", has_credits=25))
    await tab.page.get_by_role("link", name="Plan", exact=True).click()
    threshold = tab.page.get_by_label("Warn me below so many credits")
    await threshold.fill("none")
    save = tab.page.get_by_role("button", name="Save", exact=True)
    await save.click()
    await expect(tab.page.get_by_text("must be a decimal number of credits")).to_be_visible()
    await threshold.fill("12.5")
    await tab.page.get_by_label("Mail me a statement each month").uncheck()
    await save.click()
    await expect(tab.page.get_by_text("Saved.")).to_be_visible()
    statement = tab.page.get_by_role("table", name="Statement of")
    await expect(statement).to_contain_text("25")

    await tab.page.reload()

    await expect(threshold).to_have_value("12.5")
    await expect(tab.page.get_by_label("Mail me a statement each month")).not_to_be_checked()
    await tab.page.get_by_role("combobox", name="Month").select_option(index=1)
    await expect(statement.get_by_role("row")).to_have_count(2)
    assert await grave_findings(tab.page, "billing") == []


async def test_person_asks_for_the_enterprise_plan(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free", has_credits=0))
    await tab.page.get_by_role("link", name="Plan", exact=True).click()
    await tab.page.locator("[data-plan=enterprise]").get_by_role("button", name="Ask for it").click()
    await tab.page.get_by_label("Company").fill("Sea & Sons")
    await tab.page.get_by_label("What you need").fill("100,000 pictures a month")
    await tab.page.get_by_role("button", name="Send the request").click()
    await expect(tab.page.get_by_text("Your request was sent.")).to_be_visible()
    await expect(tab.page.get_by_label("Company")).to_have_count(0)


async def test_page_of_payments_speaks_korean(tab: Tab) -> None:
    await tab.page.goto("/pricing")
    await tab.page.evaluate("localStorage.setItem('pingvas.language', 'ko')")
    await tab.page.reload()

    await expect(tab.page.get_by_role("heading", name="요금제와 가격")).to_be_visible()
    await expect(tab.page.locator("[data-plan=pro]")).to_contain_text("매월 15,000 크레딧")


async def _pay(page: Page, price: str) -> None:
    """Presses the button on the provider's page, and comes back."""
    await expect(page.get_by_text(price, exact=True)).to_be_visible()
    await page.get_by_role("button", name="Pay").click()
    await expect(page).to_have_url(re.compile(r"/billing\?paid=true$"))
