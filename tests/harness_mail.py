"""Owns a real SMTP server for tests, which can be down, busy, or refuse a mail.

As a pytest plugin it offers `mail_server`, one a module.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest

from studio.stack.mailbox import listen
from tests.harness_redis import free_port

PATIENCE_SECONDS = 20.0
_TAKEN = "250 taken"
_TOKEN = re.compile(r"#token=(\S+)")


class MailServer:
    """One SMTP server on a port that stays the same while it goes down and up."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[EmailMessage] = []
        self.answers: deque[str] = deque()
        """What the server answers to the next mails instead of taking them."""
        self.delays: deque[float] = deque()
        """How many seconds the server thinks about each of the next mails."""
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address for the service."""
        return f"smtp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await listen(self, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Ends listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Takes a mail, or gives the next of `answers`; aiosmtpd calls it."""
        if self.delays:
            await asyncio.sleep(self.delays.popleft())
        if self.answers:
            return self.answers.popleft()
        message = message_from_bytes(envelope.content, policy=policy.default)
        async with self._changed:
            self.received.append(cast("EmailMessage", message))
            self._changed.notify_all()
        return _TAKEN

    def to(self, address: str) -> Sequence[EmailMessage]:
        """Returns the mails to an address so far."""
        return [message for message in self.received if message["To"] == address]

    async def mail(self, address: str, number: int = 1) -> EmailMessage:
        """Returns the n-th mail to an address, waiting until it comes."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.to(address)) >= number)
        return self.to(address)[number - 1]


def text_of(message: EmailMessage, form: str = "plain") -> str:
    """Returns the text of a mail, plain or html."""
    body = message.get_body(preferencelist=(form,))
    assert body is not None, message
    return str(body.get_content())


def token_of(message: EmailMessage) -> str:
    """Returns the token of the link in a mail."""
    found = _TOKEN.search(text_of(message))
    assert found is not None, text_of(message)
    return found[1]


@pytest.fixture(scope="module")
async def mail_server() -> AsyncIterator[MailServer]:
    """A running server."""
    server = MailServer()
    await server.start()
    yield server
    await server.stop()
