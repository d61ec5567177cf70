"""What files in a zip are called, and that the zip is whole though it is never in memory."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.errors import Reason, ServiceError
from svc_common.zip_stream import ZipStream
from svc_gallery.domain.exports import FileNames, check_export_room, check_selection

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("a red circle", "a red circle-7"),
        ("../../etc/passwd", "etc passwd-7"),
        ("C:\\Windows\\system32", "C Windows system32-7"),
        ("con", "picture-7"),
        ("LPT1", "picture-7"),
        ("", "picture-7"),
        (" ... ", "picture-7"),
        ("-rf *", "rf-7"),
        ("~root", "root-7"),
        ("바다 위의 배", "바다 위의 배-7"),
        ("a\u202egnp.exe", "a gnp.exe-7"),
        ("line\nbreak\ttab", "line break tab-7"),
        ("x" * 300, "x" * 60 + "-7"),
    ],
)
def test_names_are_fit_for_any_file_system(text: str, stem: str) -> None:
    assert FileNames().stem_for(text, 7) == stem


@given(st.lists(st.tuples(st.text(max_size=80), st.integers(0, 3)), max_size=30))
def test_no_two_names_are_the_same_whatever_their_case(pictures: list[tuple[str, int]]) -> None:
    names = FileNames()
    stems = [names.stem_for(text, seed) for text, seed in pictures]
    assert len({stem.casefold() for stem in stems}) == len(stems)
    for stem in stems:
        assert not set(stem) & set('<>:"/\\|?*\0\n')
        assert not stem.startswith((".", "-", " ", "~"))
        assert len(stem.encode()) < 255


def test_names_that_differ_by_case_are_told_apart() -> None:
    names = FileNames()
    assert [names.stem_for(text, 7) for text in ("Sea", "sea", "SEA")] == ["Sea-7", "sea-7 (2)", "SEA-7 (3)"]


def test_selection_has_bounds_and_so_has_the_number_of_exports() -> None:
    check_selection(5000)
    check_export_room(9)
    for count in (0, 5001):
        with pytest.raises(ServiceError) as refused:
            check_selection(count)
        assert refused.value.reason is Reason.INVALID_FIELD
    with pytest.raises(ServiceError) as refused:
        check_export_room(10)
    assert refused.value.reason is Reason.TOO_MANY_EXPORTS


async def test_zip_is_whole_and_gives_every_piece_away_at_once() -> None:
    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    contents = {"a.png": bytes(range(256)) * 100, "바다.json": b"{}", "empty.png": b""}
    stream, pieces = ZipStream(), []
    for name, content in contents.items():
        pieces += [piece async for piece in stream.entry(name, NOON, len(content), chunks(content))]
    pieces.append(stream.end())
    assert max(map(len, pieces)) < 1200
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as found:
        assert found.testzip() is None
        assert {info.filename: found.read(info) for info in found.infolist()} == contents
        assert found.infolist()[0].date_time == (2026, 11, 29, 12, 0, 0)


async def test_time_before_the_calendar_of_zips_is_its_first_day() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    stream = ZipStream()
    pieces = [piece async for piece in stream.entry("a", datetime(1970, 1, 1, tzinfo=UTC), 0, nothing())]
    with zipfile.ZipFile(io.BytesIO(b"".join([*pieces, stream.end()]))) as found:
        assert found.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
