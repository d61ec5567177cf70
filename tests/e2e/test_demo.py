"""The demo, as `make demo` runs it, in a folder of its own."""

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from studio.cli.context import Shared
from studio.demo import run
from studio.stack.layout import Layout
from studio.stack.state import is_running


@pytest.mark.timeout(300)
def test_demo_leaves_a_picture_an_account_and_nothing_running(tmp_path: Path) -> None:
    said = io.StringIO()
    for _ in range(2):
        run(Shared(data_dir=tmp_path), Console(file=said, width=200, highlight=False))
        assert not is_running(Layout(tmp_path))
    pictures = sorted((tmp_path / "images").glob("*.png"))
    assert len(pictures) == 2
    with Image.open(pictures[0]) as picture:
        assert picture.size == (256, 256)
    words = said.getvalue()
    assert words.count("Registered demo@example.com") == 1
    assert words.count("Logged in as demo@example.com") == 2
    assert str(pictures[0]) in words
    assert words.count("▀") > 500  # both pictures, in half blocks
    for expected in ("credits; seed", "curl -s http://127.0.0.1:", "import grpc", "pingvas up --data-dir"):
        assert expected in words
