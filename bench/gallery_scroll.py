"""Measures the frames of the gallery while 10,000 pictures scroll by, in a browser that has a fourth of the CPU.

A frame is what lies between two animation frames in Chromium's own trace. An empty page of the same height, scrolled at the
same pace in the same browser, stands beside it: what is longer there isn't the gallery's.

`python -m bench.gallery_scroll [--json] [--pictures N]`.
"""

import argparse
import asyncio
import json
import os
import statistics
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle, pairwise
from typing import Final
from uuid import UUID

import asyncpg
import grpc
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.user.v1 import auth_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from playwright.sync_api import Browser, Page

from bench.chromium import chromium
from bench.platform import CREDITS_MILLI, platform
from studio.scratch import ScratchStack
from svc_common.object_keys import THUMBNAIL, image_key

CPU_THROTTLING: Final = 4
PX_A_FRAME: Final = 120
EMPTY_FRAMES: Final = 1500
LONGEST_MS: Final = 50.0
_PROMPTS: Final = ("a red circle", "a blue square", "mountains at dawn", "a forest by day")
_EMAIL, _PASSWORD = "scroll@example.com", "a password for benchmarks"
_PATIENCE_MS: Final = 120_000
_LIMIT_MS: Final = 900_000
_HEIGHT_PX: Final = 400_000

# As many rows as there are to be, each a copy of one that was drawn, a minute apart.
_COPY = """
    WITH drawn AS (SELECT image, row_number() OVER () - 1 AS place FROM gallery.images image WHERE account_id = $1)
    INSERT INTO gallery.images
    SELECT (jsonb_populate_record(image, jsonb_build_object(
        'image_id', gen_random_uuid(), 'job_id', gen_random_uuid(), 'create_time', now() - number * interval '1 minute'
    ))).*
    FROM generate_series(1, $2) number JOIN drawn ON place = number % $3
    RETURNING image_id
"""

# Scrolls on with each frame, and waits at the end for more as long as pictures are missing.
_SCROLL = """([selector, pictures, step, frames, limitMs]) => new Promise((resolve, reject) => {
    const scroller = document.querySelector(selector);
    const row = scroller.querySelector("ul");
    const rows = row ? Math.ceil(pictures / row.children.length) : 0;
    const height = row ? rows * row.getBoundingClientRect().height : 0;
    const until = performance.now() + limitMs;
    let left = frames;
    const next = () => {
        scroller.scrollTop += step;
        left -= 1;
        const isWhole = scroller.scrollHeight >= height;
        const isAtEnd = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 1;
        if (left <= 0 && (!row || (isWhole && isAtEnd))) resolve();
        else if (performance.now() > until) reject(new Error("the end wasn't reached in time"));
        else requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
})"""


@dataclass(frozen=True, slots=True)
class Frames:
    """How long the frames of one scroll were."""

    count: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    over_limit: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found."""

    pictures: int
    gallery: Frames
    empty: Frames
    ratio: float


async def fill(stack: ScratchStack, account_id: UUID, pictures: int) -> None:
    """Copies the account's drawn pictures until there are that many; the copies' thumbnails are links to the drawn ones."""
    connection = await asyncpg.connect(stack.admin_database_url)
    try:
        drawn = await connection.fetch("SELECT image_id FROM gallery.images WHERE account_id = $1", account_id)
        copies = await connection.fetch(_COPY, account_id, pictures - len(drawn), len(drawn))
        await connection.execute("ANALYZE gallery.images")
    finally:
        await connection.close()
    bucket = stack.layout.s3 / "pingvas"
    for source, copy in zip(cycle(drawn), copies, strict=False):
        file = bucket / image_key(account_id, copy["image_id"], THUMBNAIL)
        file.parent.mkdir(parents=True)
        os.link(bucket / image_key(account_id, source["image_id"], THUMBNAIL), file)


def draw(stack: ScratchStack) -> UUID:
    """Registers somebody, draws a picture of each prompt, and returns the account."""
    with grpc.insecure_channel(stack.grpc) as channel:
        auth = AuthServiceStub(channel)
        account_id = auth.Register(auth_service_pb2.RegisterRequest(email=_EMAIL, password=_PASSWORD)).account_id
        stack.administrator.grant(account_id, CREDITS_MILLI)
        login = auth.Login(auth_service_pb2.LoginRequest(email=_EMAIL, password=_PASSWORD))
        metadata = (("authorization", f"Bearer {login.access_token}"),)
        generation = GenerationServiceStub(channel)
        for prompt in _PROMPTS:
            operation = job_pb2.TextToImage(prompt=prompt)
            created = generation.CreateJob(
                generation_service_pb2.CreateJobRequest(text_to_image=operation), metadata=metadata
            )
            events = generation.WatchJob(
                generation_service_pb2.WatchJobRequest(job_id=created.job_id), metadata=metadata
            )
            if not any(event.HasField("completed") for event in events):
                raise SystemExit(f"no picture was drawn of {prompt!r}")
    return UUID(account_id)


def scrolled(browser: Browser, page: Page, selector: str, pictures: int, frames: int) -> Frames:
    """Scrolls something to its end under throttling, and returns what the trace says of the frames meanwhile."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": CPU_THROTTLING})
    browser.start_tracing(page=page, categories=["devtools.timeline"])
    page.evaluate(_SCROLL, [selector, pictures, PX_A_FRAME, frames, _LIMIT_MS])
    trace = json.loads(browser.stop_tracing())
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    # Times are in microseconds. The other pages of the browser stand still behind this one.
    times = sorted(event["ts"] for event in trace["traceEvents"] if event["name"] == "FireAnimationFrame")
    lengths = [(later - earlier) / 1000 for earlier, later in pairwise(times)]
    cuts = statistics.quantiles(lengths, n=100, method="inclusive")
    return Frames(
        count=len(lengths),
        p50_ms=round(cuts[49], 1),
        p99_ms=round(cuts[98], 1),
        longest_ms=round(max(lengths), 1),
        over_limit=sum(length > LONGEST_MS for length in lengths),
    )


def measure(pictures: int) -> Result:
    """Fills a gallery, and scrolls an empty page and then the gallery."""
    # The gallery is filled before there is a browser, whose driver has an event loop of its own in this thread.
    with ExitStack() as closing:
        stack = closing.enter_context(platform(workers=1))
        asyncio.run(fill(stack, draw(stack), pictures))
        browser = closing.enter_context(chromium())
        context = browser.new_context(base_url=stack.http, locale="en-GB", viewport={"width": 1440, "height": 900})
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        page.set_content(
            f'<section style="height: 100vh; overflow-y: scroll"><div style="height: {_HEIGHT_PX}px"></div></section>'
        )
        empty = scrolled(browser, page, "section", 0, EMPTY_FRAMES)
        page.goto("/")
        page.get_by_label("E-mail address").fill(_EMAIL)
        page.get_by_label("Password").fill(_PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_label("Prompt", exact=True).wait_for()
        page.goto("/gallery")
        page.locator("section[aria-label=Gallery] li img").first.wait_for()
        gallery = scrolled(browser, page, "section[aria-label=Gallery]", pictures, 1)
    return Result(pictures, gallery, empty, round(gallery.longest_ms / empty.longest_ms, 2))


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="The frames of the gallery while pictures scroll by.")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.pictures)
    if options.json:
        print(json.dumps(asdict(result)))
        return
    for name, frames in (("gallery", result.gallery), ("empty page", result.empty)):
        print(
            f"{name:<10} {frames.count} frames, p50 {frames.p50_ms} ms, p99 {frames.p99_ms} ms, "
            f"longest {frames.longest_ms} ms, {frames.over_limit} over {LONGEST_MS:g} ms"
        )
    print(f"the longest of {result.pictures} pictures over that of an empty page: {result.ratio}")


if __name__ == "__main__":
    main()
