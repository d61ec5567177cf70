"""What people read of the devices among their sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_user import domain

_MOZILLA = "Mozilla/5.0"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{_MOZILLA} (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
        (
            f"{_MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
            "Edge on Windows",
        ),
        (f"{_MOZILLA} (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36", "Chrome on Android"),
        (
            f"{_MOZILLA} (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19.0 Mobile Safari/604.1",
            "Safari on iPhone",
        ),
        (f"{_MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/19.0 Safari/605", "Safari on macOS"),
        ("pingvas (Linux) grpc-python/1.85.1 grpc-c/53.0.0 (linux; chttp2)", "pingvas on Linux"),
        ("grpc-python/1.85.1 grpc-c/53.0.0 (linux; chttp2)", "gRPC program"),
        ("curl/8.5.0", "curl"),
        ("Visit evil.example to win", "unknown"),
        ("", "unknown"),
    ],
)
def test_device_name_says_program_and_system(user_agent: str, name: str) -> None:
    assert domain.device_name(user_agent) == name


@given(st.text(max_size=400))
def test_clean_user_agent_keeps_printable_ascii_of_bounded_length(user_agent: str) -> None:
    cleaned = domain.clean_user_agent(user_agent)

    assert len(cleaned) <= 256
    assert cleaned.isascii()
    assert cleaned.isprintable()
