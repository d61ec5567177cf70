"""Owns where a picture's objects lie, what an import may contain, and how far addresses and lists reach.

Signing addresses is left to the object store, and keeping rows to the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

from svc_common.errors import FieldViolation, Reason, ServiceError, invalid_field
from svc_common.object_keys import METADATA, ORIGINAL, RECIPE_FREE, THUMBNAIL, image_key
from svc_gallery.domain.search import same_tag

# Long enough to load a page of pictures over a slow line, short enough that a leaked address soon is worth nothing.
URL_LIFETIME: Final = timedelta(minutes=5)


BIN_LIFETIME: Final = timedelta(days=30)
"""How long a picture can be restored from the bin."""


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which pictures a list holds; what is empty, None or 0 narrows nothing."""

    job_id: UUID | None = None
    search: str = ""
    """A tsquery as text, which names the account; see `svc_gallery.domain.search`."""
    starred_only: bool = False
    model_id: str = ""
    min_rating: int = 0
    create_time_from: datetime | None = None
    create_time_until: datetime | None = None
    in_bin: bool = False
    board_id: UUID | None = None
    uncategorised: bool = False
    """Whether it holds only what is on no board."""

    def scope(self, account_id: UUID) -> str:
        """Returns what a page token of this list is good for: the same account and filter."""
        return f"images:{account_id}:{self}"


@dataclass(frozen=True, slots=True)
class ObjectKeys:
    """Holds the keys of a picture's objects."""

    original: str
    thumbnail: str
    metadata: str
    """What made it, as JSON."""
    recipe_free: str
    """A copy of the original without what tells how it was made, for who may see the picture only; made when it is needed."""

    def all(self) -> tuple[str, ...]:
        """Returns every key, also of objects that may not be there."""
        return self.original, self.thumbnail, self.metadata, self.recipe_free


@dataclass(frozen=True, slots=True)
class ImageCursor:
    """Names a place in the list of pictures: just after the picture with this time and id."""

    create_time: datetime
    image_id: UUID

    def parts(self) -> tuple[str, str]:
        """Returns the texts that a page token carries."""
        return self.create_time.isoformat(), str(self.image_id)

    @classmethod
    def from_parts(cls, create_time: str, image_id: str) -> Self:
        """Returns the place whose texts a page token carried; the token's signature vouches for them."""
        return cls(datetime.fromisoformat(create_time), UUID(image_id))


def object_keys(account_id: UUID, image_id: UUID) -> ObjectKeys:
    """Returns where a picture's objects lie in the bucket."""
    return ObjectKeys(*(image_key(account_id, image_id, name) for name in (ORIGINAL, THUMBNAIL, METADATA, RECIPE_FREE)))


def check_distinct(image_ids: Sequence[UUID]) -> None:
    """Raises INVALID_FIELD when an import names a picture twice."""
    repeated = [index for index, image_id in enumerate(image_ids) if image_id in image_ids[:index]]
    if repeated:
        message = "An import names a picture twice; give each its own id."
        violations = [FieldViolation(f"images[{index}].image_id", "Is used by an earlier one.") for index in repeated]
        raise ServiceError(Reason.INVALID_FIELD, message, violations=violations)


def clean_tags(values: Sequence[str]) -> list[str]:
    """Returns tags without the blanks around them.

    Raises:
        ServiceError: INVALID_FIELD, when one is blank or there twice.
    """
    tags = [value.strip() for value in values]
    spellings = [same_tag(tag) for tag in tags]
    for at, spelling in enumerate(spellings):
        if not spelling:
            raise invalid_field(f"tags.values[{at}]", "must not be blank")
        if spelling in spellings[:at]:
            raise invalid_field(f"tags.values[{at}]", f"is there twice: {tags[at]}")
    return tags


def image_id_taken() -> ServiceError:
    """Returns the refusal of an import that brings the id of a picture of another job."""
    return ServiceError(
        Reason.INVALID_FIELD,
        "A picture of another job has one of these ids; give each picture an id of its own.",
        violations=[FieldViolation("images", "Contains an image_id that another job's picture has.")],
    )


def job_of_another_account(job_id: UUID) -> ServiceError:
    """Returns the refusal of an import for a job whose pictures belong to another account."""
    return ServiceError(
        Reason.INVALID_FIELD,
        f"The pictures of job {job_id} belong to another account; import them for that one.",
        violations=[FieldViolation("account_id", "Isn't the account of the job.")],
    )


def image_not_found(image_id: UUID) -> ServiceError:
    """Returns the answer for a picture that isn't there, or isn't the caller's: the two can't be told apart."""
    return ServiceError(
        Reason.IMAGE_NOT_FOUND,
        f"There is no picture {image_id} in your gallery; ListImages shows what there is.",
        metadata={"image_id": str(image_id)},
    )
