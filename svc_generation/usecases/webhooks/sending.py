"""Sends one request to an address that a stranger has chosen, without becoming the stranger's way into our network.

A name is looked up once. Every address that it has must be public, and the connection goes to one of them, so that a name whose
addresses change in between leads nowhere else. Certificates are checked against the name. Redirects aren't followed and
proxies of the environment aren't used; time and size of the answer are limited.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import httpx

from svc_generation.domain.webhooks import is_public

SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 16 << 10
_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt has brought: the HTTP status, or 0 and why there is none."""

    http_status: int
    error: str = ""
    took: timedelta = timedelta()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Returns the addresses of a name, as the system's resolver has them; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    return [str(entry[4][0]) for entry in found]


class Sender:
    """Sends requests; one connection for each, since nothing of one may serve another."""

    def __init__(
        self,
        *,
        allows_private: bool,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """Takes whether private addresses are allowed, a resolver, and how long an attempt may take in all."""
        self._allows_private = allows_private
        self._resolve = resolve
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._seconds = seconds

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Posts a body and returns what came of it; never raises for anything that the other side does."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._seconds):
                outcome = await self._send(url, body, headers)
        except TimeoutError:
            outcome = Outcome(0, f"No answer came within {self._seconds:g} seconds.")
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            outcome = Outcome(0, _told(error))
        return Outcome(outcome.http_status, outcome.error, timedelta(seconds=asyncio.get_running_loop().time() - began))

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)
        try:
            addresses = [ipaddress.ip_address(address) for address in await self._resolve(host, port)]
        except OSError:
            return Outcome(0, "The host's name has no address.")
        if not addresses:
            return Outcome(0, "The host's name has no address.")
        if not self._allows_private and not all(map(is_public, addresses)):
            # Which address it is would tell a stranger what our network looks like.
            return Outcome(0, "The host's name leads to an address that isn't public.")
        pinned = addresses[0]
        target = httpx.URL(url).copy_with(host=str(pinned), port=port)
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._seconds) as client:
            request = client.build_request(
                "POST",
                target,
                content=body,
                headers={**headers, "host": parts.netloc},
                extensions={"sni_hostname": host},
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                return await _read(answer)
            finally:
                await answer.aclose()


async def _read(answer: httpx.Response) -> Outcome:
    """Reads an answer to its end, but no more of it than so much; of its content nothing is kept."""
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > _ANSWER_BYTES:
            break
    return Outcome(answer.status_code)


def _told(error: Exception) -> str:
    """Returns what the endpoint's owner is told of a failure."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text:
        return "The certificate isn't valid for the host."
    if isinstance(error, httpx.ConnectError | OSError):
        return "No connection could be made."
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "The connection was closed before an answer came."
    return "The answer wasn't understood."
