"""The blocklist finds terms in whatever way they are written, and leaves other words alone; the classifier decides alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpu_worker.attempt.safety import PromptBlocklist, SafetyPolicy
from gpu_worker.render.interface import Pixels
from tests.unit.test_fake_pipeline import SPEC

BLOCKLIST = PromptBlocklist(["Gore", "severed head", "폭탄", "straße", "naïve"])


@pytest.mark.parametrize(
    "prompt",
    [
        "gore",
        "much GORE, please",
        "gore.",
        "(gore:1.4)",
        "((gore))",
        "g(or)e",
        "[gore]",
        r"\(gore\)",
        "g\u200bo\u00adre",
        "\uff47\uff4f\uff52\uff45",
        "g\u0336o\u0336r\u0336e\u0336",
        "a Severed  Head on a plate",
        "severed-head",
        "severed_head",
        "severed\nhead",
        "(severed:1.2) head",
        "폭탄",
        "폭탄을 든 사람",
        "폭탄들이 터진다",
        "시계와 폭탄.",
        "\u1111\u1169\u11a8\u1110\u1161\u11ab",
        "STRASSE",
        "nai\u0308ve",
    ],
)
def test_prompt_with_a_term_is_found(prompt: str) -> None:
    assert BLOCKLIST.finds_in(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "gorey",
        "Al Gorean",
        "phlegore",
        "a head, severed from nothing",
        "several heads",
        "폭탄주",
        "시한폭탄",
        "a (fox:1.3)",
    ],
)
def test_prompt_without_a_term_is_left_alone(prompt: str) -> None:
    assert not BLOCKLIST.finds_in(prompt)


def test_empty_blocklist_finds_nothing() -> None:
    assert not PromptBlocklist(["", "  ", "\u200b"]).finds_in("anything")


def test_blocklist_is_read_from_a_file_without_its_remarks(tmp_path: Path) -> None:
    path = tmp_path / "terms.txt"
    path.write_text("# of the operator\n\n폭탄\r\n  gore  \n", encoding="utf-8")
    blocklist = PromptBlocklist.read(path)
    assert blocklist.finds_in("폭탄이 있다")
    assert blocklist.finds_in("gore")
    assert not blocklist.finds_in("of the operator")


class DarkPictures:
    """Rejects what is dark."""

    def rejects(self, pixels: Pixels) -> bool:
        return bool(pixels.mean() < 20)


async def test_policy_refuses_by_prompt_and_by_picture_and_says_no_term() -> None:
    with ThreadPoolExecutor(1) as pool:
        policy = SafetyPolicy(BLOCKLIST, DarkPictures(), pool)
        refusal = await policy.check_prompt(replace(SPEC, prompt="gore"))
        assert refusal is not None
        assert "gore" not in refusal.message.lower()
        assert await policy.check_prompt(replace(SPEC, prompt="a fox", negative_prompt="gore")) is None
        assert await policy.check_picture(np.full((8, 8, 3), 9, np.uint8)) is not None
        assert await policy.check_picture(np.full((8, 8, 3), 90, np.uint8)) is None


async def test_policy_without_parts_refuses_nothing() -> None:
    with ThreadPoolExecutor(1) as pool:
        policy = SafetyPolicy(None, None, pool)
        assert await policy.check_prompt(replace(SPEC, prompt="gore")) is None
        assert await policy.check_picture(np.zeros((8, 8, 3), np.uint8)) is None
