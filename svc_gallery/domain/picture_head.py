"""What svc_gallery tells of a picture by its bytes: type and size as it is seen, or why it can't be used.

Reading is left to `svc_common.pictures`, which the worker reads by as well. Whether the rest can be decoded is left to
who decodes it.
"""

from dataclasses import dataclass

from svc_common.errors import Reason, ServiceError
from svc_common.pictures import PictureFaultError, Reading, read_facts


@dataclass(frozen=True, slots=True)
class PictureHead:
    """Holds what the bytes of a picture tell."""

    content_type: str
    width_px: int
    height_px: int


def unusable(cause: str, fault: str) -> ServiceError:
    """Returns the refusal of what is no picture that can be used; `cause` is a word for programs, `fault` for people."""
    message = f"The picture can't be used: {fault}. Upload a PNG, JPEG or WebP picture of one frame."
    return ServiceError(Reason.SOURCE_INVALID, message, metadata={"cause": cause})


def read_head() -> Reading[PictureHead]:
    """Reads what a file tells of its picture: yields spans of the file, and is sent their bytes.

    Raises:
        ServiceError: SOURCE_INVALID; it isn't PNG, JPEG or WebP, is damaged, or moves.
    """
    try:
        facts = yield from read_facts()
    except PictureFaultError as error:
        raise unusable(error.cause, str(error)) from None
    return PictureHead(facts.content_type, *facts.seen_size_px)
