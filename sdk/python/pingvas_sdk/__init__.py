"""A client of Pingvas Studio: pictures from prompts, over gRPC.

    from pingvas_sdk import Client

    with Client("https://studio.example", "pgv_live_...") as client:
        (picture,) = client.generate("a lighthouse at dawn", on_progress=print)
        picture.save("lighthouse.png")

`AsyncClient` is the same for programs with an event loop. Whatever has no method of its own is called through `call`, with
the stubs and messages of the contracts, which come with this package under `pingvas`.
"""

from pingvas_sdk.aio import AsyncClient
from pingvas_sdk.client import Client
from pingvas_sdk.errors import (
    AuthenticationError,
    ForbiddenError,
    InsufficientCreditsError,
    InvalidRequestError,
    JobCancelledError,
    JobEndedError,
    JobFailedError,
    LimitError,
    NotFoundError,
    PingvasError,
    RefusedError,
    UnreachableError,
    Violation,
)
from pingvas_sdk.operations import drawing
from pingvas_sdk.pictures import Picture, Source
from pingvas_sdk.progress import Progress

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "ForbiddenError",
    "InsufficientCreditsError",
    "InvalidRequestError",
    "JobCancelledError",
    "JobEndedError",
    "JobFailedError",
    "LimitError",
    "NotFoundError",
    "Picture",
    "PingvasError",
    "Progress",
    "RefusedError",
    "Source",
    "UnreachableError",
    "Violation",
    "drawing",
]
