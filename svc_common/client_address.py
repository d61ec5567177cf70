"""Finds out from which address a client calls, and never believes the client itself.

The edge names the address in a header and proves with a secret that it was the edge. Whoever reaches a service without
the edge is taken for what its connection says.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from svc_common.caller import request_header

EDGE_SECRET_HEADER: Final = "x-edge-secret"  # noqa: S105 - the name of a header
ADDRESS_HEADER: Final = "x-envoy-external-address"
"""Set by Envoy to the address that it trusts, and removed from what clients send."""

FORWARDED_USER_AGENT_HEADER: Final = "x-forwarded-user-agent"
"""Set by the HTTP bridge, whose own calls would name gRPC. What it says is the client's own word, like any user agent."""

_IPV6_SITE_BITS: Final = 64
"""What one customer of a provider gets at the least: single addresses in it cost nothing."""
_UNKNOWN: Final = "unknown"


class ClientAddresses:
    """Reads clients' addresses."""

    def __init__(self, edge_secret: str | None) -> None:
        """Takes the secret that the edge sends; None when no edge stands in front."""
        self._edge_secret = edge_secret.encode() if edge_secret else None

    @classmethod
    def from_file(cls, path: Path | None) -> "ClientAddresses":
        """Reads the secret from a file, if there is one."""
        return cls(path.read_text(encoding="utf-8").strip() if path else None)

    def of(self, headers: Mapping[str, str], peer: str) -> str:
        """Returns the network that a call comes from: an IPv4 address or an IPv6 /64; `peer` is gRPC's own word for it."""
        address = headers.get(ADDRESS_HEADER, "") if self.is_from_edge(headers) else _address_of(peer)
        return network_of(address)

    def is_from_edge(self, headers: Mapping[str, str]) -> bool:
        """Returns whether a call shows the secret of the edge."""
        shown = headers.get(EDGE_SECRET_HEADER, "")
        return self._edge_secret is not None and hmac.compare_digest(shown.encode(), self._edge_secret)


def user_agent_of_call() -> str:
    """Returns what the program that makes the present call says of itself, at most 512 characters."""
    # The bridge calls for a browser, whose own word it passes on.
    return (request_header(FORWARDED_USER_AGENT_HEADER) or request_header("user-agent") or "")[:512]


def network_of(address: str) -> str:
    """Returns what of an address counts as one client; "unknown" for what is none, so that all of those are one client."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _UNKNOWN
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_SITE_BITS), strict=False))


def _address_of(peer: str) -> str:
    """Returns the address in gRPC's form of a peer: `ipv4:192.0.2.1:443` or `ipv6:%5B2001:db8::1%5D:443`."""
    _, _, rest = peer.partition(":")
    host, _, _ = unquote(rest).rpartition(":")
    return host.strip("[]").partition("%")[0]
