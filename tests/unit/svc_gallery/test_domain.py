"""The rules of the gallery."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from svc_common.errors import Code, Reason, ServiceError
from svc_gallery.domain import images as domain

ACCOUNT = UUID("01937f3e-7c1b-7cc0-b2a5-000000000001")
IMAGE = UUID("01937f3e-7c1b-7cc0-b2a5-000000000002")
OTHER_IMAGE = UUID("01937f3e-7c1b-7cc0-b2a5-000000000003")


def test_object_keys_lie_below_the_account() -> None:
    folder = f"users/{ACCOUNT}/images/{IMAGE}"

    assert domain.object_keys(ACCOUNT, IMAGE) == domain.ObjectKeys(
        original=f"{folder}/original.png",
        thumbnail=f"{folder}/thumbnail.webp",
        metadata=f"{folder}/metadata.json",
        recipe_free=f"{folder}/shared.png",
    )


def test_cursor_survives_its_texts_to_the_microsecond() -> None:
    cursor = domain.ImageCursor(datetime(2026, 11, 20, 16, 5, 7, 123456, tzinfo=UTC), IMAGE)

    assert domain.ImageCursor.from_parts(*cursor.parts()) == cursor


def test_distinct_pictures_are_accepted() -> None:
    domain.check_distinct([IMAGE, OTHER_IMAGE])


def test_each_repeated_picture_is_named() -> None:
    with pytest.raises(ServiceError) as refused:
        domain.check_distinct([IMAGE, OTHER_IMAGE, IMAGE, IMAGE])

    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == ["images[2].image_id", "images[3].image_id"]


def test_missing_picture_is_not_found_and_named() -> None:
    refusal = domain.image_not_found(IMAGE)

    assert (refusal.reason, refusal.code) == (Reason.IMAGE_NOT_FOUND, Code.NOT_FOUND)
    assert refusal.metadata == {"image_id": str(IMAGE)}
