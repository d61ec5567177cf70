"""Owns what a picture is found by: the words of its texts, for a language with spaces and for those without.

Korean, Japanese and Chinese text is kept as its pairs of neighbouring characters, so that a part of a word is found where
no space tells where words begin. A text search of PostgreSQL's has the pieces as they are here; none of its dictionaries is
used, since a prompt may be of any language.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

from svc_common.errors import invalid_field

# Hiragana and katakana, CJK ideographs with extension A and compatibility, Hangul syllables, and the planes of rarer
# ideographs.
_SPACELESS: Final = (
    "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS: Final = re.compile(rf"[{_SPACELESS}]+|[^\W_{_SPACELESS}]+")
_IS_SPACELESS: Final = re.compile(rf"[{_SPACELESS}]")
_LONGEST: Final = 100
"""Characters of a word that are kept: nobody types more, and PostgreSQL takes 2,046 bytes."""


def searched_for(account_id: UUID, texts: Iterable[str], tags: Iterable[str]) -> list[str]:
    """Returns the lexemes that a picture is found by, sorted.

    One of them names the account, so that the index leads to the words of one gallery and not of all.
    """
    lexemes = {_account_lexeme(account_id)}
    for text in (*texts, *tags):
        for run in _runs(text):
            lexemes.update(_pieces(run))
    lexemes.update(map(_tag_lexeme, tags))
    return sorted(lexemes)


def search_query(account_id: UUID, query: str, tag: str) -> str:
    """Returns the tsquery, as text, for an account's pictures with all words of `query` and with the tag; "" without both.

    Raises:
        ServiceError: INVALID_FIELD, when `query` has nothing to search for.
    """
    terms = list(_terms(query))
    if query and not terms:
        raise invalid_field("query", "must have a letter or a digit to search for")
    if tag:
        terms.append(_quoted(_tag_lexeme(tag)))
    return " & ".join((_quoted(_account_lexeme(account_id)), *terms)) if terms else ""


def same_tag(tag: str) -> str:
    """Returns what two spellings of one tag have in common."""
    return _normal(tag).strip()


def _terms(query: str) -> Iterator[str]:
    for run in _runs(query):
        if not _is_spaceless(run) or len(run) == 1:
            yield f"{_quoted(run)}:*"
        else:
            yield from map(_quoted, _pairs(run))


def _runs(text: str) -> Iterator[str]:
    return (run[:_LONGEST] if not _is_spaceless(run) else run for run in _RUNS.findall(_normal(text)))


def _pieces(run: str) -> Sequence[str]:
    # The last character begins no pair; without it a search for it alone would miss it.
    return [*_pairs(run), run[-1]] if _is_spaceless(run) else [run]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _is_spaceless(run: str) -> bool:
    return _IS_SPACELESS.match(run) is not None


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _account_lexeme(account_id: UUID) -> str:
    return f"account:{account_id.hex}"


def _tag_lexeme(tag: str) -> str:
    return f"tag:{same_tag(tag)}"


def _quoted(lexeme: str) -> str:
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
