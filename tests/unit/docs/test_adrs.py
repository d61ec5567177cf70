"""Every decision says when it was made, whether it stands, and what was rejected for it."""

import re
from pathlib import Path

import pytest

ADRS = sorted((Path(__file__).parents[3] / "docs/adr").glob("*.md"))
HEADER = re.compile(r"# (\d+)\. [^\n]+\n\nDate: \d{4}-\d{2}-\d{2}\. Status: (accepted|superseded)[^\n]*\.\n\n")


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_header_has_number_date_and_status_and_the_text_what_was_rejected(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header, 'begin with "# 7. Title", an empty line, and "Date: 2026-11-20. Status: accepted."'
    assert int(header[1]) == int(path.name[:4])
    for section in ("Context", "Decision", "Rejected"):
        assert f"\n**{section}.**" in text


def test_numbers_are_given_once() -> None:
    numbers = [path.name[:4] for path in ADRS]
    assert len(numbers) == len(set(numbers))
