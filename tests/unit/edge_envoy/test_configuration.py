"""Values of Envoy's configuration that are computed from settings."""

import re

import pytest

from edge_envoy.configuration import origin_pattern


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "https://localhost:5173", False),
        ("http://localhost:*", "http://localhost.evil.example:80", False),
        ("https://studio.example", "https://studio.example", True),
        ("https://studio.example", "https://studioxexample", False),
    ],
)
def test_origin_pattern_matches_that_origin_only(pattern: str, origin: str, matches: bool) -> None:
    assert bool(re.fullmatch(origin_pattern(pattern), origin)) == matches
