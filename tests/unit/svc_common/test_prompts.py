"""The language of prompts: weights, nesting, escapes, and everything that is plain text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svc_common.prompts import Segment, escaped, parse_prompt, plain_text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1.0)]),
        ("a red fox", [("a red fox", 1.0)]),
        ("a (red:1.3) fox", [("a ", 1.0), ("red", 1.3), (" fox", 1.0)]),
        ("a (red : .5 ) fox", [("a ", 1.0), ("red ", 0.5), (" fox", 1.0)]),
        ("(a (red:2) fox:1.5)", [("a ", 1.5), ("red", 3.0), (" fox", 1.5)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("(red:0)", [("red", 0.0)]),
        (r"a \(red:1.3\) fox", [("a (red:1.3) fox", 1.0)]),
        (r"(a \(b\):2)", [("a (b)", 2.0)]),
        (r"C:\\dir", [("C:\\dir", 1.0)]),
        (r"a\b", [(r"a\b", 1.0)]),
        ("a (red fox", [("a (red fox", 1.0)]),
        ("a red) fox", [("a red) fox", 1.0)]),
        ("ratio 16:9", [("ratio 16:9", 1.0)]),
        ("at 12:30) sharp", [("at 12:30) sharp", 1.0)]),
        ("(a (b:2)", [("(a ", 1.0), ("b", 2.0)]),
        ("((((x:2):2):2):2)", [("x", 10.0)]),
        # A number that makes no weight leaves its bracket text.
        ("a red circle (16:9)", [("a red circle (16:9)", 1.0)]),
        ("(1:1)", [("(1:1)", 1.0)]),
        ("(John 3:16)", [("(John 3:16)", 1.0)]),
        ("at (12:30)", [("at (12:30)", 1.0)]),
        ("(x:9)", [("(x:9)", 1.0)]),
        ("(x:-1)", [("(x:-1)", 1.0)]),
        ("(x:+1)", [("(x:+1)", 1.0)]),
        ("(x:1e3)", [("(x:1e3)", 1.0)]),
        ("(x:1,5)", [("(x:1,5)", 1.0)]),
        ("(x:NaN)", [("(x:NaN)", 1.0)]),
        ("(x:2.0)", [("x", 2.0)]),
        ("(x:2.01)", [("(x:2.01)", 1.0)]),
        ("(x\uff1a1.2)", [("x", 1.2)]),
        ("((a:9), b:1.5)", [("(a:9), b", 1.5)]),
        # Other tools' lighter brackets.
        ("a [red] fox", [("a ", 1.0), ("red", 1 / 1.1), (" fox", 1.0)]),
        ("a {red} fox", [("a ", 1.0), ("red", 1.05), (" fox", 1.0)]),
        ("[[red]]", [("red", 1 / 1.21)]),
        ("[red)", [("[red)", 1.0)]),
        (r"\[red\] \{fox\} \<3", [("[red] {fox} <3", 1.0)]),
        ("(:1.5)", [("", 1.0)]),
        ("(눈:1.5) 속", [("눈", 1.5), (" 속", 1.0)]),
    ],
)
def test_prompt_is_cut_into_weighted_pieces(prompt: str, expected: list[tuple[str, float]]) -> None:
    segments = parse_prompt(prompt)
    assert [segment.text for segment in segments] == [text for text, _ in expected]
    assert [segment.weight for segment in segments] == pytest.approx([weight for _, weight in expected])


def test_plain_text_is_the_prompt_without_its_notation() -> None:
    assert plain_text(r"a (red:1.3) \(fox\)") == "a red (fox)"


@settings(deadline=None)
@given(st.text(alphabet="ab()[]{}:\uff1a.59\\ ", max_size=60))
def test_any_text_is_a_prompt(prompt: str) -> None:
    segments = parse_prompt(prompt)
    assert segments
    assert all(0 <= segment.weight <= 10 for segment in segments)
    assert all(segment.text for segment in segments) or segments == (Segment("", 1.0),)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_escaped_text_means_itself(text: str) -> None:
    assert parse_prompt(escaped(text)) == (Segment(text, 1.0),)
