"""Takes every page of the studio in both themes into docs/screenshots/: `make screenshots`.

The pages are those of a whole stack that is started for it, with people, pictures and jobs of its own. Names of pages may be
given to take those only: `python docs/screenshots.py gallery admin-people`.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from PIL import Image
from pingvas.gallery.v1 import board_service_pb2, gallery_service_pb2
from pingvas.gallery.v1.board_service_pb2_grpc import BoardServiceStub
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.payment.v1 import enterprise_service_pb2
from pingvas.payment.v1.enterprise_service_pb2_grpc import EnterpriseServiceStub
from pingvas.user.v1 import auth_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import TimeoutError as PageTimeout

from bench.chromium import chromium
from studio.scratch import ScratchStack
from studio.stack.administrator import ensure_administrator
from studio.stack.mailbox import Mailbox

FOLDER: Final = Path(__file__).parent / "screenshots"
THEMES: Final = ("light", "dark")
_VIEWPORT: Final = {"width": 1440, "height": 900}
_PATIENCE_MS: Final = 120_000
_QUALITY: Final = 80
_LIMIT_BYTES: Final = 150_000
_PASSWORD: Final = "a password for pictures"  # noqa: S105 - of accounts that live for minutes
_OWNER: Final = ("mina@example.com", "Mina Park", "studio")
_OTHERS: Final = (
    ("jonas@example.com", "Jonas Weber", "starter"),
    ("haru@example.com", "Haru Tanaka", "pro"),
    ("amelie@example.com", "Amélie Laurent", "free"),
    ("seoyeon@example.com", "Seoyeon Kim", "enterprise"),
    ("diego@example.com", "Diego Ramos", "pro"),
)
_PROMPTS: Final = (
    "mountains at dawn with a lake",
    "a desert at sunset with a sun",
    "the sea at night with a moon",
    "a forest by day with clouds",
    "a city at night with stars",
    "hills at sunset with a house",
    "the sea at sunset with a sun",
    "mountains at night with stars",
    "a desert at night with a moon",
    "hills by day with a tree",
    "a city at dawn",
    "a forest at dawn with a lake",
    "mountains at sunset with a house",
    "a yellow star on a navy background",
    "a red heart on a pink background",
    "the sea by day with clouds",
    "hills at night with a moon",
    "a large orange circle on a teal background",
)
_LEADS: Final = (
    ("Kim Prints", "Covers for 40 books a month, with bills by contract."),
    (
        "Laurent & Fils",
        "100,000 pictures a month for a catalogue of furniture.\nWe draw at night; ten jobs at once would do.",
    ),
)
_BOARDS: Final = ("Landscapes", "Covers", "Ideas")
_SIDE_PX: Final = 256
_STEPS: Final = 20
_LONG_STEPS: Final = 150
_SEEN_PERCENT: Final = 40
"""How far a job of two pictures is when the first of them can be made out."""


class Stage:
    """The stack with what the pages show."""

    def __init__(self, stack: ScratchStack) -> None:
        """Registers people, draws the owner's pictures, and lays them on boards."""
        self.stack = stack
        channel = grpc.insecure_channel(stack.grpc)
        auth = AuthServiceStub(channel)
        for email, name, tier in (*_OTHERS, _OWNER):
            registration = auth_service_pb2.RegisterRequest(email=email, password=_PASSWORD, display_name=name)
            account_id = auth.Register(registration).account_id
            if tier != "free":
                stack.administrator.set_tier(account_id, tier)
            stack.administrator.grant(account_id, 5_000_000)
        say("people are there; their pictures are drawn")
        self._confirm_address(auth)
        tokens = auth.Login(auth_service_pb2.LoginRequest(email=_OWNER[0], password=_PASSWORD))
        self._metadata = (("authorization", f"Bearer {tokens.access_token}"),)
        self._generation = GenerationServiceStub(channel)
        sales = EnterpriseServiceStub(channel)
        for company, message in _LEADS:
            wish = enterprise_service_pb2.RequestEnterpriseRequest(
                request_id=company, company=company, contact=_OWNER[0], message=message
            )
            sales.RequestEnterprise(wish, metadata=self._metadata)
        self.image_ids = []
        for number, prompt in enumerate(_PROMPTS, 1):
            self.image_ids.append(self.drawn(prompt))
            say(f"picture {number} of {len(_PROMPTS)}: {prompt}")
        gallery, boards = GalleryServiceStub(channel), BoardServiceStub(channel)
        starred = gallery_service_pb2.BatchStarImagesRequest(image_ids=self.image_ids[::4])
        gallery.BatchStarImages(starred, metadata=self._metadata)
        for number, name in enumerate(_BOARDS):
            created = board_service_pb2.CreateBoardRequest(request_id=name, name=name)
            board_id = boards.CreateBoard(created, metadata=self._metadata).board_id
            on_it = board_service_pb2.AddBoardImagesRequest(
                board_id=board_id, image_ids=self.image_ids[number :: len(_BOARDS)]
            )
            boards.AddBoardImages(on_it, metadata=self._metadata)

    def _confirm_address(self, auth: AuthServiceStub) -> None:
        """Confirms the owner's address, which every page would ask for otherwise."""
        mailbox = Mailbox(self.stack.layout.mail)
        address = _OWNER[0]
        self.stack.wait_for(
            lambda: bool(mailbox.mails(address)), within_seconds=_PATIENCE_MS / 1000, what=f"the mail to {address}"
        )
        token = mailbox.mails(address)[0].link.rpartition("=")[2]
        auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))

    def drawn(self, prompt: str) -> str:
        """Draws a picture, and returns its id once it is there."""
        job = self._create(prompt, _STEPS, 1)
        watching = generation_service_pb2.WatchJobRequest(job_id=job.job_id)
        for event in self._generation.WatchJob(watching, metadata=self._metadata):
            if event.WhichOneof("detail") == "completed":
                return event.completed.images[0].image_id
        raise SystemExit(f"no picture was drawn of {prompt!r}")

    def draw_for_long(self) -> None:
        """Begins with pictures that take longer than the screenshots do."""
        for prompt in _PROMPTS[:3]:
            self._create(prompt, _LONG_STEPS, 2)

    def _create(self, prompt: str, steps: int, count: int) -> job_pb2.Job:
        operation = job_pb2.TextToImage(
            prompt=prompt, width_px=_SIDE_PX, height_px=_SIDE_PX, step_count=steps, image_count=count
        )
        request = generation_service_pb2.CreateJobRequest(text_to_image=operation)
        return self._generation.CreateJob(request, metadata=self._metadata)


@dataclass(frozen=True, slots=True)
class Shot:
    """A page: who sees it, where it is, and what is done there before its picture is taken."""

    name: str
    path: str
    ready: str
    """The selector of something that is there when the page is."""
    viewer: str = "owner"
    prepare: Callable[[Page], None] = lambda _: None
    themes: tuple[str, ...] = THEMES


def shots(stage: Stage) -> list[Shot]:
    """Returns the pages in the order in which they are taken."""
    picture = stage.image_ids[0]
    return [
        Shot("sign-in", "/", "text=Sign in", "nobody"),
        Shot("pricing", "/pricing", "[data-plan=enterprise]", "nobody", _packs_are_there),
        Shot("status", "/status", "text=Everything works.", "nobody"),
        Shot("api-docs", "/docs", "[placeholder='Filter by tag or path']", "nobody", _show_operations, ("light",)),
        Shot("gallery", "/gallery", "img[alt*=hills]", prepare=_images_are_drawn),
        Shot("viewer", f"/gallery?image={picture}", "dialog img", prepare=_images_are_drawn),
        Shot("editor", f"/edit/{picture}", "canvas", prepare=_paint),
        Shot("models", "/models", "text=Your own LoRAs", prepare=_images_are_drawn),
        Shot("billing", "/billing", "[data-plan=enterprise]", prepare=_packs_are_there),
        Shot("account", "/account", "text=this one"),
        Shot("security", "/account/security", "text=Signed in"),
        Shot("identities", "/account/identities", "h2"),
        Shot("usage", "/account/usage", "table"),
        Shot("admin-people", "/admin/people", "text=haru@example.com", "administrator"),
        Shot("admin-person", "/admin/people", "text=haru@example.com", "administrator", _open_person),
        Shot("admin-models", "/admin/models", "tbody tr", "administrator"),
        Shot("admin-leads", "/admin/leads", "text=Laurent & Fils", "administrator"),
        Shot("admin-ledger", "/admin/ledger", "text=Audit the ledger", "administrator", _audit),
        Shot("admin-audit", "/admin/audit", "li:has-text('Signed in')", "administrator"),
        Shot("admin-health", "/admin/health", "text=Everything works.", "administrator"),
    ]


def shots_at_work() -> list[Shot]:
    """Returns the pages that are taken while pictures are drawn."""
    return [
        Shot("generate", "/", "li[data-state=RUNNING] img", prepare=_write_prompt),
        Shot("palette", "/", "li[data-state=RUNNING]", prepare=_find_command),
        Shot("admin-queue", "/admin/queue", "text=Works on", "administrator", _queue_is_there),
    ]


def _images_are_drawn(page: Page) -> None:
    # Not by a condition that is waited for: the page's policy lets nobody evaluate one again and again.
    page.evaluate("() => Promise.all([...document.images].map((image) => image.decode()))")


def _packs_are_there(page: Page) -> None:
    page.get_by_text("20,000 credits").first.wait_for()


def _show_operations(page: Page) -> None:
    # What is far below is drawn when one comes there.
    page.get_by_placeholder("Filter by tag or path").fill("Generation")
    page.locator("[data-tag^=Gallery]").first.wait_for(state="detached")
    page.locator(".opblock").first.wait_for()


def _write_prompt(page: Page) -> None:
    page.locator("textarea[name=prompt]").fill("mountains at dawn with a lake, (clouds:1.2)")
    running = page.locator("li[data-state=RUNNING] progress").first
    while running.evaluate("(bar) => bar.value") < _SEEN_PERCENT:
        page.wait_for_timeout(200)


def _find_command(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("option").first.wait_for()
    page.keyboard.type("s")


def _paint(page: Page) -> None:
    """Paints over the clouds on the left, as somebody would who wants others there."""
    _images_are_drawn(page)
    page.get_by_text("0 % is repainted").wait_for()
    canvas = page.locator("canvas").last.bounding_box()
    if canvas is None:
        raise SystemExit("the editor has no canvas")
    left, top = canvas["x"] + 0.35 * canvas["width"], canvas["y"] + 0.2 * canvas["height"]
    page.mouse.move(left, top)
    page.mouse.down()
    for number in range(5):
        page.mouse.move(left + 60 * (number % 2 + 1), top + 24 * number, steps=8)
    page.mouse.up()
    page.locator("textarea").first.fill("a white cloud")


def _queue_is_there(page: Page) -> None:
    page.get_by_role("table", name="Queue").wait_for()


def _open_person(page: Page) -> None:
    page.get_by_role("button", name="Manage haru@example.com").click()
    page.get_by_label("Give credits").wait_for()


def _audit(page: Page) -> None:
    page.get_by_role("button", name="Audit the ledger").click()
    page.get_by_text("Every credit is accounted for.").wait_for()


def signed_in(browser: Browser, stage: Stage, viewer: str, theme: str) -> BrowserContext:
    """Returns a profile in which somebody is signed in, with a theme."""
    context = browser.new_context(
        base_url=stage.stack.http, locale="en-GB", viewport=_VIEWPORT, reduced_motion="reduce"
    )
    context.set_default_timeout(_PATIENCE_MS)
    context.add_init_script(f"localStorage.setItem('pingvas.theme', '{theme}')")
    if viewer == "nobody":
        return context
    administrator = ensure_administrator(stage.stack.layout.keys)
    email, password = (
        (administrator.email, administrator.password) if viewer == "administrator" else (_OWNER[0], _PASSWORD)
    )
    page = context.new_page()
    page.goto("/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_label("Prompt", exact=True).wait_for()
    page.close()
    return context


def take(browser: Browser, stage: Stage, wanted: list[Shot], theme: str) -> None:
    """Takes pages in a theme."""
    for viewer in dict.fromkeys(shot.viewer for shot in wanted):
        context = signed_in(browser, stage, viewer, theme)
        for shot in wanted:
            if shot.viewer != viewer or theme not in shot.themes:
                continue
            page = context.new_page()
            try:
                page.goto(shot.path)
                page.locator(shot.ready).first.wait_for()
                shot.prepare(page)
            except PageTimeout as error:
                raise SystemExit(f"the page {shot.name} wasn't ready in time: {error}") from error
            page.evaluate("document.fonts.ready")
            save(page.screenshot(), FOLDER / f"{shot.name}-{theme}.webp")
            page.close()
        context.close()


def save(png: bytes, file: Path) -> None:
    """Writes a screenshot as a small file."""
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "WEBP", quality=_QUALITY, method=6)
    size = file.stat().st_size
    say(f"{file.name:<32} {size / 1000:6.1f} kB")
    if size > _LIMIT_BYTES:
        raise SystemExit(f"{file.name} is larger than {_LIMIT_BYTES / 1000:g} kB")


def say(what: str) -> None:
    """Tells whoever waits how far it is."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    """Takes the pages of these names, or all."""
    FOLDER.mkdir(exist_ok=True)
    say("the stack starts")
    with tempfile.TemporaryDirectory() as folder, ScratchStack(Path(folder)) as stack, chromium() as browser:
        stage = Stage(stack)
        for at_work, listed in ((False, shots(stage)), (True, shots_at_work())):
            wanted = [shot for shot in listed if not names or shot.name in names]
            if at_work and wanted:
                stage.draw_for_long()
            for theme in THEMES:
                take(browser, stage, wanted, theme)


if __name__ == "__main__":
    main(sys.argv[1:])
