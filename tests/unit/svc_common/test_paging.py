"""Page tokens and page sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.errors import Reason, ServiceError
from svc_common.paging import PageTokens, page_size

TOKENS = PageTokens(b"a key")


@given(st.text(), st.lists(st.text()))
def test_token_returns_what_it_was_made_of(list_filter: str, parts: list[str]) -> None:
    assert TOKENS.decode(TOKENS.encode(list_filter, *parts), list_filter) == tuple(parts)


@given(st.text(), st.text(), st.lists(st.text()))
def test_token_is_refused_for_another_filter(made_for: str, used_for: str, parts: list[str]) -> None:
    if made_for != used_for:
        with pytest.raises(ServiceError) as caught:
            TOKENS.decode(TOKENS.encode(made_for, *parts), used_for)
        assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


@given(st.text())
def test_invented_token_is_refused(token: str) -> None:
    with pytest.raises(ServiceError) as caught:
        TOKENS.decode(token, "jobs")
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


def test_token_with_one_changed_character_is_refused() -> None:
    token = TOKENS.encode("jobs", "2026-01-01", "id")
    for position, character in enumerate(token[:-1]):
        changed = token[:position] + ("A" if character != "A" else "B") + token[position + 1 :]
        with pytest.raises(ServiceError):
            TOKENS.decode(changed, "jobs")


def test_token_of_another_key_is_refused() -> None:
    with pytest.raises(ServiceError):
        PageTokens.derived_from(b"one").decode(PageTokens.derived_from(b"two").encode("jobs", "x"), "jobs")


@pytest.mark.parametrize(("requested", "size"), [(0, 50), (-1, 50), (1, 1), (200, 200), (201, 200), (10**9, 200)])
def test_page_size_is_bounded(requested: int, size: int) -> None:
    assert page_size(requested) == size
