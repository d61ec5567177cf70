"""How addresses of deployments are read, and which one a command means."""

from pathlib import Path

import pytest

from studio.cli.context import Shared
from studio.cli.endpoint import page_address, read_address
from studio.cli.failures import CommandError, ExitCode
from studio.stack.layout import Layout, Ports
from studio.stack.state import StackLock, clear_state, describe, write_state


@pytest.mark.parametrize(
    ("endpoint", "target", "secure"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("localhost:9080", "localhost:9080", False),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://10.0.0.5:8080/", "10.0.0.5:8080", False),
        ("https://api.pingvas.studio", "api.pingvas.studio:443", True),
        ("api.pingvas.studio", "api.pingvas.studio:443", True),
        ("api.pingvas.studio:8443", "api.pingvas.studio:8443", True),
        ("http://[::1]:8080", "[::1]:8080", False),
    ],
)
def test_endpoint_is_read_with_tls_unless_it_is_loopback_or_says_http(
    endpoint: str, target: str, *, secure: bool
) -> None:
    address = read_address(endpoint)
    assert (address.target, address.is_secure) == (target, secure)


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://pingvas.example", "https://pingvas.example"),
        ("pingvas.example:443", "https://pingvas.example"),
        ("https://pingvas.example:8443", "https://pingvas.example:8443"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_page_is_where_the_api_is(endpoint: str, address: str) -> None:
    assert page_address(endpoint) == address


@pytest.mark.parametrize("endpoint", ["", "ftp://host", "http://", "host:port", "https://host:99999999"])
def test_endpoint_that_is_none_is_a_usage_error(endpoint: str) -> None:
    with pytest.raises(CommandError) as failure:
        read_address(endpoint)
    assert failure.value.exit_code == ExitCode.USAGE


def test_endpoint_is_the_running_stack_when_none_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(31000))
    layout.create()
    shared = Shared(data_dir=tmp_path)
    with StackLock(layout):
        write_state(layout, describe(layout, ready=True, processes=()))
        assert shared.require_endpoint() == "127.0.0.1:31080"
        assert Shared(data_dir=tmp_path, endpoint="https://elsewhere").require_endpoint() == "https://elsewhere"
    with pytest.raises(CommandError) as failure:
        shared.require_endpoint()
    assert failure.value.exit_code == ExitCode.UNREACHABLE
    clear_state(layout)


def test_state_left_by_a_supervisor_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    write_state(layout, describe(layout, ready=True, processes=()))
    assert Shared(data_dir=tmp_path).running is None
