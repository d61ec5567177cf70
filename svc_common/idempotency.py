"""The caller's own id of a request, by which a repetition is recognised: where it stands, and what it may not do twice."""

from typing import Final

from svc_common.caller import request_header
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.text import REMEDY, is_storable

_HEADER: Final = "idempotency-key"
_LONGEST: Final = 100
"""As the contract says of the field; of a header nobody else sees to it."""


def idempotency_key(request_id: str) -> str:
    """Returns the field of the request, else the header of the present call, else "".

    Raises:
        ServiceError: INVALID_FIELD, when the header is too long or can't be stored.
    """
    key = request_id or request_header(_HEADER) or ""
    if len(key) > _LONGEST:
        raise invalid_field(_HEADER, f"may have {_LONGEST} characters at most")
    if not is_storable(key):
        raise invalid_field(_HEADER, REMEDY)
    return key


def idempotency_key_reused(key: str) -> ServiceError:
    """Returns the refusal of another request under an id that was used before."""
    return ServiceError(
        Reason.IDEMPOTENCY_KEY_REUSED,
        f"The request id {key!r} was used with another body. Repeat that body, or choose a new id.",
        metadata={"request_id": key},
    )
