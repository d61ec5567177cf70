"""What a browser has to fetch before the page shows anything."""

import gzip
import re
from pathlib import Path

LIMIT_BYTES = 200_000
"""Of JavaScript, as it is sent."""

_DIST = Path(__file__).parents[2] / "web/dist"
_SCRIPT = re.compile(r"""(?:src|href)="/(assets/[^"]+\.js)\"""")


def sent_bytes(path: str) -> int:
    return len(gzip.compress((_DIST / path).read_bytes()))


def test_scripts_of_the_page_and_its_words_are_small() -> None:
    scripts = _SCRIPT.findall((_DIST / "index.html").read_text())
    assert scripts
    words = [f"assets/{file.name}" for language in ("en", "ko") for file in (_DIST / "assets").glob(f"{language}-*.js")]
    assert len(words) == 2, "each language is a file of its own"
    assert sum(map(sent_bytes, scripts)) + max(map(sent_bytes, words)) <= LIMIT_BYTES
