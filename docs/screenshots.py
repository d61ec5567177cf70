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
from pingvas.user.v1 import auth_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from playwright.sync_api import Browser, BrowserContext, Page

from bench.chromium import chromium
from studio.scratch import ScratchStack
from studio.stack.administrator import ensure_administrator

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
_BOARDS: Final = ("Landscapes", "Covers", "Ideas")
_SIDE_PX: Final = 256
_STEPS: Final = 20


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
        tokens = auth.Login(auth_service_pb2.LoginRequest(email=_OWNER[0], password=_PASSWORD))
        self._metadata = (("authorization", f"Bearer {tokens.access_token}"),)
        self._generation = GenerationServiceStub(channel)
        self.image_ids = [self.drawn(prompt) for prompt in _PROMPTS]
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
            self._create(prompt, 150, 4)

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


def shots(stage: Stage) -> list[Shot]:
    """Returns the pages in the order in which they are taken."""
    picture = stage.image_ids[0]
    return [
        Shot("sign-in", "/", "text=Sign in", "nobody"),
        Shot("pricing", "/pricing", "text=20,000 credits", "nobody"),
        Shot("status", "/status", "text=Everything works.", "nobody"),
        Shot("api-docs", "/docs", "[placeholder='Filter by tag or path']", "nobody", _show_operations),
        Shot("gallery", "/gallery", "img[alt*=hills]", prepare=_images_are_drawn),
        Shot("viewer", f"/gallery?image={picture}", "dialog img", prepare=_images_are_drawn),
        Shot("editor", f"/edit/{picture}", "canvas"),
        Shot("models", "/models", "article, li:has(h3), h3"),
        Shot("billing", "/billing", "text=20,000 credits"),
        Shot("account", "/account", "text=this one"),
        Shot("security", "/account/security", "text=Signed in"),
        Shot("identities", "/account/identities", "h2"),
        Shot("usage", "/account/usage", "table"),
        Shot("admin-people", "/admin/people", "text=haru@example.com", "administrator"),
        Shot("admin-person", "/admin/people", "text=haru@example.com", "administrator", _open_person),
        Shot("admin-ledger", "/admin/ledger", "text=Audit the ledger", "administrator", _audit),
        Shot("admin-audit", "/admin/audit", "text=Signed in", "administrator"),
        Shot("admin-health", "/admin/health", "text=Everything works.", "administrator"),
    ]


def shots_at_work() -> list[Shot]:
    """Returns the pages that are taken while pictures are drawn."""
    return [
        Shot("generate", "/", "li[data-state=RUNNING] img", prepare=_write_prompt),
        Shot("palette", "/", "li[data-state=RUNNING]", prepare=lambda page: page.keyboard.press("Control+k")),
        Shot("admin-queue", "/admin/queue", "text=Works on", "administrator"),
    ]


def _images_are_drawn(page: Page) -> None:
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def _show_operations(page: Page) -> None:
    # What is far below is drawn when one comes there.
    page.get_by_placeholder("Filter by tag or path").fill("Generation")
    page.locator("#operations-Generation-GenerationService_CreateJob, .opblock").first.wait_for()


def _write_prompt(page: Page) -> None:
    page.locator("textarea[name=prompt]").fill("mountains at dawn with a lake, (clouds:1.2)")
    page.wait_for_timeout(1500)


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
            if shot.viewer != viewer:
                continue
            page = context.new_page()
            page.goto(shot.path)
            page.locator(shot.ready).first.wait_for()
            shot.prepare(page)
            page.evaluate("document.fonts.ready")
            save(page.screenshot(), FOLDER / f"{shot.name}-{theme}.webp")
            page.close()
        context.close()


def save(png: bytes, file: Path) -> None:
    """Writes a screenshot as a small file."""
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "WEBP", quality=_QUALITY, method=6)
    size = file.stat().st_size
    sys.stdout.write(f"{file.name:<32} {size / 1000:6.1f} kB\n")
    if size > _LIMIT_BYTES:
        raise SystemExit(f"{file.name} is larger than {_LIMIT_BYTES / 1000:g} kB")


def main(names: list[str]) -> None:
    """Takes the pages of these names, or all."""
    FOLDER.mkdir(exist_ok=True)
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
