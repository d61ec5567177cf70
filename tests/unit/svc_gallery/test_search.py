"""What pictures are found by: the words of any language."""

from uuid import UUID

import pytest

from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.search import same_tag, search_query, searched_for

ACCOUNT = UUID("01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11")
OWN = "account:01937f3e7c1b7cc0b2a50f6f2f7f5a11"


def found_by(*texts: str) -> set[str]:
    return set(searched_for(ACCOUNT, texts, [])) - {OWN}


def terms(query: str, tag: str = "") -> list[str]:
    own, *others = search_query(ACCOUNT, query, tag).split(" & ")
    assert own == f"'{OWN}'"
    return others


@pytest.mark.parametrize(
    ("text", "lexemes"),
    [
        ("A red Circle", {"a", "red", "circle"}),
        ("red_circle, (red:1.3)", {"red", "circle", "1", "3"}),
        ("펭귄", {"펭귄", "귄"}),
        ("바닷가에서", {"바닷", "닷가", "가에", "에서", "서"}),
        ("海", {"海"}),
        ("4k고양이photo", {"4k", "고양", "양이", "이", "photo"}),
        ("\uff26\uff35\uff2c\uff2c width ｶﾀｶﾅ", {"full", "width", "カタ", "タカ", "カナ", "ナ"}),
        ("STRASSE Straße", {"strasse"}),
        ("été", {"été"}),
        ("Ζεύς Привет", {"ζεύσ", "привет"}),
        ("...!!! 🚤", set()),
        ("x" * 500, {"x" * 100}),
        ("𠮷野家", {"𠮷野", "野家", "家"}),
    ],
)
def test_text_is_found_by_its_words_and_pairs(text: str, lexemes: set[str]) -> None:
    assert found_by(text) == lexemes


def test_tags_are_words_and_tags() -> None:
    assert set(searched_for(ACCOUNT, [], ["Deep Sea"])) == {OWN, "deep", "sea", "tag:deep sea"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Peng", ["'peng':*"]),
        ("red  circle", ["'red':*", "'circle':*"]),
        ("펭귄", ["'펭귄'"]),
        ("닷가에", ["'닷가'", "'가에'"]),
        ("펭", ["'펭':*"]),
        ("it's", ["'it':*", "'s':*"]),
        ("a & b | !c:*", ["'a':*", "'b':*", "'c':*"]),
    ],
)
def test_query_asks_for_all_its_words(query: str, expected: list[str]) -> None:
    assert terms(query) == expected


def test_tag_is_quoted_whatever_it_holds() -> None:
    query = search_query(ACCOUNT, "", "Rock'n\\Roll & ':*")
    assert query == f"'{OWN}' & 'tag:rock''n\\\\roll & '':*'"


def test_nothing_asked_for_is_no_search() -> None:
    assert search_query(ACCOUNT, "", "") == ""


@pytest.mark.parametrize("query", ["...", " ", "🚤", "_"])
def test_query_without_words_is_refused(query: str) -> None:
    with pytest.raises(ServiceError) as refused:
        search_query(ACCOUNT, query, "")
    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.violations[0].field == "query"


def test_spellings_of_a_tag_are_the_same() -> None:
    assert same_tag(" Sea ") == same_tag("SEA") == same_tag("\uff53\uff45\uff41")
