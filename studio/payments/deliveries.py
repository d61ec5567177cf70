"""Sends the webhooks: signed, again and again until 200, and wrongly where a test asks for it.

A provider gives up for good after a few tries, so an outage of a few minutes loses reports. The waits between tries go by
the stand-in's clock: whoever turns it forward makes the next try come.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import httpx
import structlog

_RETRY_SECONDS: Final = (5, 25, 125)
_SEND_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 1.0
_OK: Final = 200

_log: Final = structlog.get_logger("payments")


@dataclass(frozen=True, slots=True)
class Message:
    """A signed report, as it goes over the wire."""

    name: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class Faults:
    """What is to go wrong with the next reports. Every number counts down."""

    # Each report is sent so many times in addition, all at once.
    duplicates: int = 0
    # So many reports are never sent.
    drops: int = 0
    # So many reports are collected and then sent in the reverse order.
    reorders: int = 0
    # So many reports have a signature that doesn't fit.
    wrong_signatures: int = 0
    # So many reports say the opposite about test mode.
    flips: int = 0
    # Every report is sent so much later.
    delay_seconds: int = 0
    # Nothing is sent: a test takes the messages from `held` and delivers them itself.
    holds: bool = False


@dataclass(slots=True)
class _Planned:
    message: Message
    due: datetime
    attempt: int = 0


@dataclass(slots=True)
class Deliveries:
    """The reports that are on their way to one address."""

    url: str
    now: Callable[[], datetime]
    faults: Faults = field(default_factory=Faults)
    held: list[Message] = field(default_factory=list)
    lost: list[Message] = field(default_factory=list)
    _planned: list[_Planned] = field(default_factory=list)
    _collected: list[Message] = field(default_factory=list)
    _in_flight: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, message: Message) -> None:
        """Plans a report, as the faults will have it."""
        faults = self.faults
        if faults.holds:
            self.held.append(message)
        elif faults.drops:
            faults.drops -= 1
            self.lost.append(message)
        elif faults.reorders:
            faults.reorders -= 1
            self._collected.append(message)
            if not faults.reorders:
                for collected in reversed(self._collected):
                    self._plan(collected)
                self._collected.clear()
        else:
            self._plan(message)

    async def run(self) -> None:
        """Sends what is due, until it is cancelled."""
        async with httpx.AsyncClient(timeout=_SEND_SECONDS) as client, asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                due = [planned for planned in self._planned if planned.due <= self.now()]
                for planned in due:
                    self._planned.remove(planned)
                    self._in_flight += 1
                    group.create_task(self._deliver(client, planned))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self._changed.wait()

    def wake(self) -> None:
        """Looks again at what is due: the clock was turned."""
        self._changed.set()

    async def quiet(self) -> None:
        """Returns when everything that was due has been answered, well or not."""
        while self._in_flight or any(planned.due <= self.now() for planned in self._planned):
            self._changed.set()
            await asyncio.sleep(0.01)

    @property
    def pending(self) -> int:
        """How many reports are on their way or wait for another try."""
        return len(self._planned) + self._in_flight

    def _plan(self, message: Message) -> None:
        due = self.now() + timedelta(seconds=self.faults.delay_seconds)
        if self.faults.wrong_signatures:
            self.faults.wrong_signatures -= 1
            message = replace(message, headers={name: f"{value}0" for name, value in message.headers.items()})
        self._planned += [_Planned(message, due) for _ in range(1 + self.faults.duplicates)]
        self._changed.set()

    async def _deliver(self, client: httpx.AsyncClient, planned: _Planned) -> None:
        message = planned.message
        headers = {"content-type": "application/json", **message.headers}
        try:
            answer = (await client.post(self.url, content=message.body, headers=headers)).status_code
        except httpx.HTTPError:
            answer = 0
        self._in_flight -= 1
        _log.info("webhook.sent", name=message.name, status=answer, attempt=planned.attempt)
        if answer == _OK:
            pass
        elif planned.attempt < len(_RETRY_SECONDS):
            later = self.now() + timedelta(seconds=_RETRY_SECONDS[planned.attempt])
            self._planned.append(_Planned(message, later, planned.attempt + 1))
        else:
            self.lost.append(message)
        self._changed.set()
