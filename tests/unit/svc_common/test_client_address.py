"""Whose word on a client's address is believed."""

import pytest

from svc_common.client_address import ADDRESS_HEADER, EDGE_SECRET_HEADER, ClientAddresses, network_of

SECRET = "the edge's own"


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("ipv4:192.0.2.7:51234", "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:443", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:443", "192.0.2.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:443", "fe80::/64"),
        ("unix:/run/pingvas.sock", "unknown"),
        ("", "unknown"),
    ],
)
def test_without_the_edge_the_peer_counts(peer: str, network: str) -> None:
    assert ClientAddresses(SECRET).of({}, peer) == network
    assert ClientAddresses(None).of({}, peer) == network


@pytest.mark.parametrize("shown", ["", "a guess", "the edge's owm", "é"])
@pytest.mark.parametrize("secret", [SECRET, None, ""])
def test_address_of_a_client_that_is_not_the_edge_is_not_believed(shown: str, secret: str | None) -> None:
    headers = {ADDRESS_HEADER: "203.0.113.9", "x-forwarded-for": "203.0.113.9", EDGE_SECRET_HEADER: shown}

    assert ClientAddresses(secret).of(headers, "ipv4:192.0.2.7:1") == "192.0.2.7"


def test_address_that_the_edge_names_counts() -> None:
    headers = {ADDRESS_HEADER: "203.0.113.9", "x-forwarded-for": "198.51.100.1", EDGE_SECRET_HEADER: SECRET}

    assert ClientAddresses(SECRET).of(headers, "ipv4:127.0.0.1:1") == "203.0.113.9"


def test_addresses_of_one_site_are_one_client() -> None:
    assert network_of("2001:db8:0:1::1") == network_of("2001:db8:0:1:ffff::2") != network_of("2001:db8:0:2::1")
