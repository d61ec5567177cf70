"""Boards in a browser: made, nested, filled by the toolbar and by dragging, opened by the address, and deleted."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import Person, Stage
from tests.web.conftest import Tab

PROMPTS = ("a red circle", "a blue square", "a green triangle")


@pytest.fixture
def owner(studio: Stage) -> Person:
    """Somebody with three pictures and no board."""
    person = studio.person()
    for prompt in PROMPTS:
        person.end_of(person.create(prompt).job_id)
    return person


async def open_gallery(tab: Tab, owner: Person) -> Page:
    await tab.sign_in(owner)
    grid = await tab.open_gallery()
    await expect(grid.get_by_role("listitem")).to_have_count(len(PROMPTS))
    return tab.page


def column(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Boards")


def board(page: Page, name: str, count: int) -> Locator:
    return column(page).get_by_role("button", name=re.compile(rf"^{name}\s*{count}$"))


async def make_board(page: Page, name: str, place: str = "No other board") -> None:
    await page.get_by_role("button", name="New board").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Lies in").select_option(label=place)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(board(page, name, 0)).to_be_visible()


async def test_selected_pictures_are_put_on_a_board_and_taken_off_it(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await make_board(page, "Shapes")
    await page.get_by_label("Select: a green triangle").check()
    await page.get_by_label("Select: a red circle").check()
    await page.get_by_label("Add to board").select_option(label="Shapes")
    await board(page, "Shapes", 2).click()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await expect(page).to_have_url(re.compile("board=[0-9a-f-]{36}"))
    await page.reload()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await page.get_by_label("Select: a red circle").check()
    await page.get_by_role("button", name="Take off this board").click()
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await column(page).get_by_role("button", name="On no board").click()
    await expect(page.get_by_role("img", name="a red circle", exact=True)).to_be_visible()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await column(page).get_by_role("button", name="All pictures").click()
    await expect(page.get_by_role("listitem")).to_have_count(3)


async def test_dragged_pictures_land_on_the_board(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await make_board(page, "Shapes")
    await page.get_by_role("img", name="a blue square", exact=True).drag_to(board(page, "Shapes", 0))
    await expect(board(page, "Shapes", 1)).to_be_visible()
    await page.get_by_label("Select: a green triangle").check()
    await page.get_by_label("Select: a blue square").check()
    await page.get_by_role("img", name="a green triangle", exact=True).drag_to(board(page, "Shapes", 1))
    await board(page, "Shapes", 2).click()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await page.get_by_label("Select: a green triangle").check()
    await page.keyboard.press("Delete")
    await expect(board(page, "Shapes", 1)).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(board(page, "Shapes", 2)).to_be_visible()


async def test_board_is_renamed_moved_and_deleted_without_its_pictures(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await make_board(page, "Journeys")
    await make_board(page, "Sea", "Journeys")
    await board(page, "Sea", 0).click()
    await expect(page.get_by_text("No pictures here")).to_be_visible()
    await page.get_by_role("button", name="Edit board: Journeys").click()
    # It can't be put into what lies in it.
    await expect(page.get_by_label("Lies in").get_by_role("option")).to_have_count(1)
    await page.get_by_label("Name", exact=True).fill("Travels")
    await page.get_by_role("button", name="Save").click()
    await column(page).get_by_role("button", name="All pictures").click()
    await page.get_by_role("img", name="a red circle", exact=True).drag_to(board(page, "Travels", 0))
    await board(page, "Travels", 1).click()
    await expect(page.get_by_role("listitem")).to_have_count(1)

    await page.get_by_role("button", name="Edit board: Travels").click()
    await page.get_by_role("button", name="Delete board").click()
    await page.get_by_role("button", name="Delete it for good?").click()

    await expect(page.get_by_role("listitem")).to_have_count(3)
    await expect(board(page, "Travels", 1)).to_have_count(0)
    await expect(board(page, "Sea", 0)).to_be_visible()


async def test_board_has_the_cover_that_was_chosen_and_is_put_away_and_back(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await make_board(page, "Shapes")
    await page.get_by_label("Select: a green triangle").check()
    await page.get_by_label("Select: a red circle").check()
    await page.get_by_label("Add to board").select_option(label="Shapes")
    await board(page, "Shapes", 2).click()
    await expect(page.get_by_role("listitem")).to_have_count(2)
    circle = await page.get_by_role("img", name="a red circle", exact=True).get_attribute("src") or ""
    cover, of_circle = board(page, "Shapes", 2).locator("img"), re.compile(re.escape(circle.split("?")[0]))
    await expect(cover).not_to_have_attribute("src", of_circle)
    await page.get_by_label("Select: a red circle").check()
    await page.get_by_role("button", name="Use as cover").click()
    await expect(cover).to_have_attribute("src", of_circle)

    await page.get_by_role("button", name="Edit board: Shapes").click()
    await page.get_by_role("button", name="Archive board").click()
    await expect(page.get_by_role("listitem")).to_have_count(3)
    await expect(board(page, "Shapes", 2)).to_have_count(0)
    await page.get_by_label("Show archived boards").check()
    await page.get_by_role("button", name="Edit board: Shapes").click()
    await page.get_by_role("button", name="Bring it back").click()
    await expect(board(page, "Shapes", 2)).to_be_visible()
    await expect(page.get_by_label("Show archived boards")).to_have_count(0)


async def test_narrow_page_shows_boards_as_a_select(tab: Tab, owner: Person) -> None:
    await tab.page.set_viewport_size({"width": 390, "height": 844})
    page = await open_gallery(tab, owner)
    await page.get_by_role("button", name="New board").click()
    await page.get_by_label("Name", exact=True).fill("Shapes")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("combobox", name="Boards").select_option(label="Shapes (0)")
    await expect(page.get_by_text("No pictures here")).to_be_visible()
    await expect(column(page)).to_be_hidden()
