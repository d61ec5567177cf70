"""Whether the ports of a stack are free, and how to say it when one is not."""

import socket
from collections.abc import Iterable

import psutil

from studio.stack.failures import StackError
from studio.stack.layout import HIGHEST_OFFSET, HOST
from studio.stack.process import Listener

_LAST_PORT = 65535


_NAMED_PORTS = 3


def refuse_taken_ports(listeners: Iterable[tuple[str, Listener]]) -> None:
    """Raises StackError naming ports that somebody else has, with the process of ours that needs each.

    The first few say it: where many are taken, it's another stack that has them all.
    """
    taken = [(name, listener) for name, listener in listeners if not is_free(listener.port)]
    if not taken:
        return
    lines = [
        f"port {listener.port} ({listener.purpose} of {name}) is taken{_by(listener.port)}"
        for name, listener in taken[:_NAMED_PORTS]
    ]
    if len(taken) > _NAMED_PORTS:
        lines.append(f"and {len(taken) - _NAMED_PORTS} more are taken")
    raise StackError(
        "; ".join(lines),
        advice="Stop that program, or choose another range of ports with --port-base (for example --port-base 9000).",
    )


def is_free(port: int) -> bool:
    """Returns whether a server could listen on this port of the loopback address now.

    SO_REUSEADDR lets connections in TIME_WAIT pass; without SO_REUSEPORT a listener that shares its port still counts
    as taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_free_base(first: int, *, step: int = 1000, attempts: int = 40) -> int:
    """Returns the first port base, counting up from `first`, at which the whole range of a stack is free."""
    for base in range(first, first + step * attempts, step):
        if base + HIGHEST_OFFSET <= _LAST_PORT and all(
            is_free(base + offset) for offset in range(1, HIGHEST_OFFSET + 1)
        ):
            return base
    raise StackError(
        f"no {HIGHEST_OFFSET} free ports in a row were found from {first} up",
        advice="Name a free range yourself with --port-base.",
    )


def _by(port: int) -> str:
    """Returns " by NAME (pid N)" when the system lets us see who listens there."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
