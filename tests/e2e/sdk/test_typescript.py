"""The TypeScript SDK before the whole platform: in Node, as its own tests have it, and in a browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.harness_browser import running_chromium

NPM = shutil.which("npm") or str(Path(sys.executable).with_name("npm"))
PACKAGE = Path(__file__).parents[3] / "sdk" / "typescript"
LOADING = """
async (text) => {
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  window.pingvas = await import(address);
}
"""
IN_A_PAGE = """
async ([address, apiKey]) => {
  const { Client } = window.pingvas;
  const client = new Client(address, { apiKey });
  const stages = [];
  const [picture] = await client.generate("a lighthouse", {
    width: 64, height: 64, steps: 4, seed: 3, onProgress: ({ stage }) => stages.push(stage),
  });
  const shown = await createImageBitmap(picture.blob);
  return { stages: [...new Set(stages)], seed: picture.seed, width: shown.width, height: shown.height };
}
"""


def npm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NPM, "run", "--silent", *arguments],
        cwd=PACKAGE,
        env={**os.environ, **environment, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_own_tests_pass_in_node(stage: Stage, key: str) -> None:
    ran = npm("test", PINGVAS_ADDRESS=stage.fleet.http, PINGVAS_KEY=key)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    """The package as one module."""
    built = npm("bundle", "--", "--outDir", str(tmp_path), "--logLevel", "warn")
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = tmp_path.glob("*.js")
    return file.read_text()


async def test_bundle_makes_a_picture_in_a_browser(stage: Stage, key: str, bundle: str) -> None:
    async with running_chromium() as browser:
        # The studio's own page lets no script in but its own.
        page = await (await browser.new_context(bypass_csp=True)).new_page()
        await page.goto(f"{stage.fleet.http}/docs")
        await page.evaluate(LOADING, bundle)
        made = await page.evaluate(IN_A_PAGE, [stage.fleet.http, key])
    assert made["stages"][0] == "waiting"
    assert made["stages"][-1] == "done"
    assert (made["seed"], made["width"], made["height"]) == (3, 64, 64)
