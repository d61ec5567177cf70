"""The state of each part of the platform, for whoever asks: what the services' own health says, remembered for a moment.

The bridge tells it rather than one of the services: it is told while any of them is away, which is when people ask.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from grpc_health.v1.health_pb2 import HealthCheckResponse

from edge_http.calls import Calls
from edge_http.own_routes import OwnRoute, own_route
from svc_common.health_names import STORAGE_HEALTH, WORKERS_HEALTH

PATH: Final = "/status.json"
_OK: Final = 200
_ANSWER_SECONDS: Final = 2.0
_REMEMBERED_SECONDS: Final = 5.0
# What people call the areas.
_PARTS: Final[Mapping[str, str]] = {
    "user": "accounts",
    "payment": "credits",
    "generation": "generation",
    "gallery": "gallery",
    "models": "models",
}
_OWNER_OF_JOBS: Final = "generation"


class PartState(StrEnum):
    """How a part of the platform is."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """Whoever would know is down."""


# As the document tells of it.
_DOCUMENT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "check_time": {"type": "string", "format": "date-time"},
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"part": {"type": "string"}, "state": {"type": "string", "enum": list(PartState)}},
                "required": ["part", "state"],
            },
        },
    },
    "required": ["check_time", "parts"],
}


class PlatformStatus:
    """Tells the state of each part of the platform; asks once for all who want to know at the same time."""

    def __init__(self, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the channels to the services, and a clock in seconds."""
        self._calls = calls
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: dict[str, object] = {}
        self._known_until = 0.0

    @own_route(
        OwnRoute(
            ("GET",), (PATH,), tag="PlatformStatus", answers={_OK: "The state of each part."}, schema=_DOCUMENT_SCHEMA
        )
    )
    async def answer(self, _: Request) -> Response:
        """Answers with the state of each part and the time at which it was so."""
        async with self._asking:
            if not self._known or self._clock() >= self._known_until:
                states = await self._ask()
                self._known = {
                    "check_time": datetime.now(UTC).isoformat(timespec="seconds"),
                    "parts": [{"part": part, "state": state.value} for part, state in states.items()],
                }
                self._known_until = self._clock() + _REMEMBERED_SECONDS
        return JSONResponse(self._known, headers={"cache-control": "no-cache"})

    async def _ask(self) -> dict[str, PartState]:
        areas = [area for area in _PARTS if area in self._calls.areas]
        own, rooms, (workers,) = await asyncio.gather(
            self._health("", areas), self._health(STORAGE_HEALTH, areas), self._health(WORKERS_HEALTH, [_OWNER_OF_JOBS])
        )
        states = {_PARTS[area]: _state(status) for area, status in zip(areas, own, strict=True)}
        return {**states, "workers": _told(workers), "storage": _room(rooms)}

    async def _health(self, name: str, areas: list[str]) -> list[int | None]:
        return await asyncio.gather(*(self._calls.health(area, name, _ANSWER_SECONDS) for area in areas))


def _state(status: int | None) -> PartState:
    return PartState.UP if status == HealthCheckResponse.SERVING else PartState.DOWN


def _told(status: int | None) -> PartState:
    """Returns the state of what a service tells of that it isn't itself."""
    return PartState.UNKNOWN if status in (None, HealthCheckResponse.UNKNOWN) else _state(status)


def _room(statuses: list[int | None]) -> PartState:
    """Returns whether all stores have room, as those services say that answer."""
    if HealthCheckResponse.NOT_SERVING in statuses:
        return PartState.DOWN
    return PartState.UP if HealthCheckResponse.SERVING in statuses else PartState.UNKNOWN
