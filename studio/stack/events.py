"""What the supervisor tells while it works; how it is shown is left to whoever listens."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """What happened to a process or step."""

    STARTED = "started"
    READY = "ready"
    DIED = "died"
    UNHEALTHY = "unhealthy"
    FULL = "full"
    HEALTHY_AGAIN = "healthy again"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling the person who started the stack; `seconds` is how long it took, if anything."""

    kind: EventKind
    name: str
    detail: str = ""
    log_tail: str = ""
    seconds: float = 0.0


Listen = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Listens to nothing."""
