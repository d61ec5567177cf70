"""What gRPC's own library answers inside a service, before any code of the platform runs, and what the edge makes of it.

These answers carry no ErrorInfo and tell of the library's inner life. The edge's script (request_check.lua) replaces
them by the first entry whose code is theirs and whose words they contain.
"""

import base64

from svc_common.errors import Code, Reason, ServiceError
from svc_common.status import to_status


def grpc_faults(body_bytes: int) -> list[dict[str, str]]:
    """Returns the replacements for the script, the most telling first; all values are ASCII."""
    return [
        # A message above the limit only when it is decompressed, which the edge can't see.
        _fault(
            Code.RESOURCE_EXHAUSTED,
            "larger than max",
            ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"The request is larger than {body_bytes:,} bytes. Send less.",
                metadata={"limit_bytes": str(body_bytes)},
            ),
        ),
        _fault(
            Code.INTERNAL,
            "ecompress",
            ServiceError(Reason.REQUEST_MALFORMED, "The message can't be decompressed as grpc-encoding says."),
        ),
        # Whatever else it is, the caller can do nothing about it.
        _fault(
            Code.INTERNAL,
            "",
            ServiceError(
                Reason.INTERNAL,
                "The service failed. Repeat the call; if it fails again, report the header x-request-id.",
            ),
        ),
    ]


def _fault(code: Code, words: str, told: ServiceError) -> dict[str, str]:
    status = to_status(told)
    details = base64.b64encode(status.SerializeToString()).rstrip(b"=").decode("ascii")
    return {
        "answered": str(int(code)),
        "words": words,
        "status": str(status.code),
        "message": status.message,
        "details": details,
    }
