"""How a deployment's address is read: `https://HOST[:PORT]`, `http://HOST:PORT`, or `HOST:PORT`."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a deployment is; `target` is `HOST:PORT` as gRPC wants it."""

    text: str
    target: str
    is_secure: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """Reads an address.

        Without a scheme, TLS is used everywhere but on the loopback address: a key must not cross a network in the clear
        because a scheme was forgotten. Raises ValueError for what is no address.
        """
        has_scheme = "://" in text
        parts = urlsplit(text if has_scheme else f"//{text}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or (has_scheme and parts.scheme not in _DEFAULT_PORTS):
            raise ValueError(f"{text!r} is no address: write it as https://HOST, http://HOST:PORT or HOST:PORT")
        is_secure = parts.scheme == "https" if has_scheme else host not in _LOOPBACK
        bracketed = f"[{host}]" if ":" in host else host
        port = port or _DEFAULT_PORTS["https" if is_secure else "http"]
        return cls(text, f"{bracketed}:{port}", is_secure)

    @property
    def url(self) -> str:
        """The address of the deployment's page, without a slash at the end: the same host and port as its API."""
        scheme = "https" if self.is_secure else "http"
        return f"{scheme}://{self.target.removesuffix(f':{_DEFAULT_PORTS[scheme]}')}"
