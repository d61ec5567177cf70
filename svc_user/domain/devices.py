"""Owns how devices are named: from what a client says of itself to a few known words.

The words are ours, whatever the client sends: it is shown to people who look for a stranger among their sessions, and a
stranger chooses it.
"""

import re
from typing import Final

USER_AGENT_MAX_LENGTH: Final = 256
UNKNOWN_DEVICE: Final = "unknown"

# In this order: a browser also says the names of those that it resembles.
_PROGRAMS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Whale", "Whale"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
    ("pingvas", "pingvas"),
    ("curl", "curl"),
    ("grpc-", "gRPC program"),
    ("grpcurl", "grpcurl"),
    ("python-", "Python program"),
)
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
    ("Darwin", "macOS"),
)


def clean_user_agent(user_agent: str) -> str:
    """Returns what is kept of a client's word for itself: printable ASCII, 256 characters at most."""
    return re.sub(r"[^\x20-\x7e]", "", user_agent)[:USER_AGENT_MAX_LENGTH]


def device_name(user_agent: str) -> str:
    """Returns the program and the system that a user agent names, such as "Firefox on Linux"; else "unknown"."""
    program = _first(_PROGRAMS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    return " on ".join(part for part in (program, system) if part) or UNKNOWN_DEVICE


def _first(names: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for mark, name in names if mark in text), "")
