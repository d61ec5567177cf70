"""Where webhooks may go, and when they are tried again."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest

from svc_common.errors import Reason, ServiceError
from svc_generation.domain.webhooks import WebhookEvent, check_url, is_accepted, is_public, next_attempt

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "fec0::1"),
        # Others that stand for a private IPv4 address.
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::"),
        *("2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
    ],
)
def test_address_of_somebody_s_own_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.com/hook", "https://example.com:8443/a?b=c", "https://xn--bcher-kva.example/"),
        "https://[2606:4700::1111]/",
    ],
)
def test_https_address_is_taken(url: str) -> None:
    check_url(url, allows_private=False)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://example.com/",
            "ftp://example.com/",
            "example.com",
            "https://",
            "https:///x",
            "https://example.com:99999/",
        ),
        *(
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://example.com/#x",
            "https://bücher.example/",
        ),
        *(
            "https://exa mple.com/",
            "https://example.com/\r\nx: y",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://10.0.0.1/",
        ),
        *("https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://example.com:0/", "https://[1/"),
    ],
)
def test_other_address_is_refused_with_what_to_change(url: str) -> None:
    with pytest.raises(ServiceError) as refused:
        check_url(url, allows_private=False)
    assert refused.value.reason is Reason.WEBHOOK_ADDRESS_REFUSED


def test_own_machine_is_taken_where_that_is_allowed() -> None:
    check_url("http://127.0.0.1:8000/hook", allows_private=True)


def test_delivery_is_tried_for_a_day_and_then_given_up() -> None:
    moment, attempts = NOW, 1
    while again := next_attempt(WebhookEvent.JOB_COMPLETED, attempts, moment):
        assert again > moment
        moment, attempts = again, attempts + 1
    assert attempts == 9
    assert timedelta(hours=23) < moment - NOW <= timedelta(hours=24)


@pytest.mark.parametrize("event", [WebhookEvent.JOB_PROGRESS, WebhookEvent.TEST])
def test_what_is_soon_out_of_date_is_not_repeated(event: WebhookEvent) -> None:
    assert next_attempt(event, 1, NOW) is None


def test_redirect_accepts_nothing() -> None:
    assert [status for status in (0, 199, 200, 204, 299, 301, 308, 404, 500) if is_accepted(status)] == [200, 204, 299]
