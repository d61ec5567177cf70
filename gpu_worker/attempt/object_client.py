"""The HTTP client of a worker: the object store's presigned addresses, as they were signed.

Owns the session's settings. Leaves tries, and what a reply means, to those who upload and fetch.
"""

from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

TRANSPORT_ERRORS: Final = (aiohttp.ClientError, TimeoutError)
"""What a request raises that got no reply, or half of one."""
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 30.0


def open_client(
    *, connect_seconds: float = _CONNECT_SECONDS, read_seconds: float = _READ_SECONDS
) -> aiohttp.ClientSession:
    """Returns a client that keeps connections alive, in a running event loop; whoever opens it closes it.

    Its time-outs bound each wait and no whole reply: a model has many gigabytes. Bodies come as they are stored, since a
    compressed one would have other offsets than its object.
    """
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=read_seconds),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
    )


def signed(address: str) -> URL:
    """Returns an address that is sent as it stands: written in another way it would have another signature."""
    return URL(address, encoded=True)


def is_success(status: int) -> bool:
    """Tells whether a status says that the request was carried out, here and now."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
