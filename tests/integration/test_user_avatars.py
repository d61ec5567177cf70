"""The picture that stands for a user: drawn anew from what they gave, shown to them alone."""

import io
from collections.abc import AsyncIterator

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from PIL import Image, PngImagePlugin
from pingvas.user.v1 import user_pb2, user_service_pb2

from svc_common.errors import Reason
from tests.factories.user_service import UserService, bearer, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory

RED, BLUE = (220, 20, 20), (20, 20, 220)


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder) as running:
        yield running


@pytest.fixture
async def me(service: UserService) -> str:
    """An access token of a new user."""
    return (await service.session()).access_token


def wide_picture() -> bytes:
    """Returns a PNG that is blue but for the red square in its middle, with a text in it."""
    image = Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "whereabouts of the photographer")
    encoded = io.BytesIO()
    image.save(encoded, "PNG", pnginfo=notes)
    return encoded.getvalue()


async def update(service: UserService, token: str, *paths: str, **fields: object) -> user_pb2.User:
    request = user_service_pb2.UpdateMeRequest(**fields, update_mask=FieldMask(paths=paths))
    return await service.users.UpdateMe(request, metadata=bearer(token))


async def get_me(service: UserService, token: str) -> user_pb2.User:
    return await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(token))


async def test_avatar_is_the_middle_square_drawn_anew_without_what_stood_in_the_file(
    service: UserService, me: str
) -> None:
    updated = await update(service, me, avatar=wide_picture())

    assert (await get_me(service, me)).avatar == updated.avatar
    assert b"whereabouts" not in updated.avatar
    assert len(updated.avatar) <= 32768
    with Image.open(io.BytesIO(updated.avatar), formats=["WEBP"]) as image:
        assert (image.size, image.mode) == ((128, 128), "RGB")
        for place in ((3, 3), (64, 64), (124, 124)):
            red, green, blue = image.getpixel(place)
            assert red > 180
            assert max(green, blue) < 60


async def test_new_avatar_replaces_the_one_before_and_an_empty_one_removes_it(service: UserService, me: str) -> None:
    first = (await update(service, me, avatar=wide_picture())).avatar
    plain = io.BytesIO()
    Image.new("RGB", (10, 10), BLUE).save(plain, "JPEG")

    second = (await update(service, me, avatar=plain.getvalue())).avatar
    removed = await update(service, me, "avatar", avatar=b"")

    assert second not in (first, b"")
    assert removed.avatar == b""
    assert (await get_me(service, me)).avatar == b""


async def test_avatar_stays_when_something_else_is_changed(service: UserService, me: str) -> None:
    avatar = (await update(service, me, avatar=wide_picture())).avatar

    changed = await update(service, me, "locale", locale="ko", avatar=b"")

    assert (changed.locale, changed.avatar) == ("ko", avatar)


@pytest.mark.parametrize("content", [b"no picture at all", wide_picture()[:200], b"GIF89a" + bytes(100)])
async def test_file_that_is_no_picture_is_refused_and_changes_nothing(
    service: UserService, me: str, content: bytes
) -> None:
    before = await update(service, me, avatar=wide_picture())

    error = await refusal(update(service, me, avatar=content, display_name="Changed"))

    assert (error.reason, [each.field for each in error.violations]) == (Reason.INVALID_FIELD, ["avatar"])
    assert "PNG" in error.message
    assert await get_me(service, me) == before


async def test_picture_that_would_take_too_much_memory_is_refused(service: UserService, me: str) -> None:
    encoded = io.BytesIO()
    Image.new("1", (10_000, 5_000)).save(encoded, "PNG")

    error = await refusal(update(service, me, avatar=encoded.getvalue()))

    assert error.reason is Reason.INVALID_FIELD
    assert "megapixels" in error.message


async def test_file_of_more_than_three_megabytes_is_refused(service: UserService, me: str) -> None:
    error = await refusal(update(service, me, avatar=bytes(3_000_001)))
    assert (error.reason, [each.field for each in error.violations]) == (Reason.INVALID_FIELD, ["avatar"])


async def test_avatar_is_not_shown_to_others(service: UserService, me: str) -> None:
    await update(service, me, avatar=wide_picture())
    stranger = (await service.session()).access_token
    assert (await get_me(service, stranger)).avatar == b""
