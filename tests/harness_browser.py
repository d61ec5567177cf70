"""A real browser for tests."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 30_000


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """Runs Chromium without a window; CHROMIUM names another than that of the path."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "these tests need Chromium: install your system's package, or set CHROMIUM to the program"
    # Chromium has no sandbox for root.
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        await chromium.close()
