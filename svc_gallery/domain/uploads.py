"""Owns how long uploads live, how many and how large they may be, and what a picture must be to serve as a source."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.picture_head import PictureHead

PUT_LIFETIME: Final = timedelta(minutes=15)
"""How long the address of an upload works: enough for 32 MiB over a slow line."""
UPLOAD_LIFETIME: Final = timedelta(days=1)
OPEN_UPLOADS: Final = 200
"""How many uploads an account may have that haven't expired: 6 GiB at most."""

_MIB: Final = 1024 * 1024
_LARGEST_MIB: Final = 32
_LARGEST_MEGAPIXELS: Final = 40
"""The contract's bounds of a source. A picture of 40 megapixels takes 160 MB when it is decoded."""

CHUNK_BYTES: Final = 64 * 1024
"""How much of an upload is read at once; the first chunk is all that most pictures tell of themselves."""


def check_source(size_bytes: int, head: PictureHead) -> None:
    """Refuses a picture that is too large for a source.

    Raises:
        ServiceError: SOURCE_INVALID.
    """
    check_source_bytes(size_bytes)
    if head.width_px * head.height_px > _LARGEST_MEGAPIXELS * 1_000_000:
        raise _too_large("megapixels", f"{head.width_px} x {head.height_px} pixels", _LARGEST_MEGAPIXELS)


def check_source_bytes(size_bytes: int) -> None:
    """Refuses a picture whose bytes are too many for a source, before they are looked at.

    Raises:
        ServiceError: SOURCE_INVALID.
    """
    if size_bytes > _LARGEST_MIB * _MIB:
        raise _too_large("mebibytes", f"{size_bytes} bytes", _LARGEST_MIB)


def useless_mask(cause: str) -> ServiceError:
    """Returns the refusal of a mask that repaints nothing ("mask_empty") or everything ("mask_full")."""
    advice = {
        "mask_empty": "The mask repaints nothing. Paint what is to be repainted white, on black or on a transparent layer, "
        "or erase it from a copy of the picture.",
        "mask_full": "The mask repaints everything. Paint what is to be kept black, or use image-to-image without a mask.",
    }
    return ServiceError(Reason.SOURCE_INVALID, advice[cause], metadata={"cause": cause})


def source_not_found(field: str, source_id: UUID) -> ServiceError:
    """Returns the answer for a source that isn't there, isn't the account's, or wasn't put yet; `field` names the id."""
    what = "upload" if field == "upload_id" else "picture"
    return ServiceError(
        Reason.SOURCE_NOT_FOUND,
        f"There is no {what} {source_id} in your account, or nothing was put to it yet.",
        metadata={field: str(source_id)},
    )


@dataclass(frozen=True, slots=True)
class OpenUploads:
    """The uploads of an account that haven't expired; `size_bytes` is the sum of what was announced."""

    count: int
    size_bytes: int
    earliest_expiry: datetime


def check_count(open_uploads: OpenUploads, now: datetime) -> None:
    """Refuses one upload more than an account may have, with the time until one of the open ones expires.

    Raises:
        ServiceError: TOO_MANY_UPLOADS.
    """
    if open_uploads.count < OPEN_UPLOADS:
        return
    raise ServiceError(
        Reason.TOO_MANY_UPLOADS,
        f"{OPEN_UPLOADS} uploads of your account are open. Use one of them again, or wait until one expires.",
        metadata={"limit": str(OPEN_UPLOADS)},
        retry_after=open_uploads.earliest_expiry - now,
    )


def check_quota(size_bytes: int, open_uploads: OpenUploads, image_bytes: int, quota_bytes: int) -> None:
    """Refuses an upload for which a tier's storage has no room beside the account's pictures and open uploads.

    Raises:
        ServiceError: STORAGE_QUOTA_EXCEEDED.
    """
    if size_bytes + open_uploads.size_bytes + image_bytes <= quota_bytes:
        return
    raise ServiceError(
        Reason.STORAGE_QUOTA_EXCEEDED,
        f"The upload has {_mib(size_bytes)} MiB, and your tier stores {_mib(quota_bytes)} MiB, of which pictures take "
        f"{_mib(image_bytes)} and open uploads {_mib(open_uploads.size_bytes)}. Delete pictures and empty the bin, wait "
        "until uploads expire, a day after they were made, or upgrade.",
        metadata={
            "quota_bytes": str(quota_bytes),
            "image_bytes": str(image_bytes),
            "upload_bytes": str(open_uploads.size_bytes),
            "size_bytes": str(size_bytes),
        },
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f}"


def _too_large(cause: str, measured: str, limit: int) -> ServiceError:
    return ServiceError(
        Reason.SOURCE_INVALID,
        f"The picture has {measured}; at most {limit} {cause} can be used. Make it smaller.",
        metadata={"cause": cause, "limit": str(limit)},
    )
