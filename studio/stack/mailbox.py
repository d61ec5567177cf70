"""The mailbox of a local stack: an SMTP server that keeps every mail as a file, and the reader of those files.

It sends nothing on: whatever the address, mail of a local stack stays on its machine.
"""

import argparse
import asyncio
import os
import re
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

_SUFFIX: Final = ".eml"
_TAKEN: Final = "250 Message accepted for delivery"
_LINK: Final = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class StoredMail:
    """One mail in the mailbox."""

    name: str
    message: EmailMessage

    @property
    def to(self) -> str:
        """Whom it is addressed to."""
        return str(self.message["To"])

    @property
    def subject(self) -> str:
        """What it says it is about."""
        return str(self.message["Subject"])

    @property
    def time(self) -> datetime:
        """When it was written."""
        return parsedate_to_datetime(str(self.message["Date"]))

    @property
    def text(self) -> str:
        """Its text, without the HTML, with the line ends of text and not those of mail."""
        body = self.message.get_body(preferencelist=("plain",))
        return "" if body is None else str(body.get_content()).replace("\r\n", "\n")

    @property
    def link(self) -> str:
        """The first link in its text; empty when there is none."""
        found = _LINK.search(self.text)
        return found[0] if found else ""


class Mailbox:
    """The files of a mailbox."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which may be missing: then there is no mail."""
        self._folder = folder

    def mails(self, to: str = "") -> list[StoredMail]:
        """Returns all mails, or those to an address, the newest first."""
        files = sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True) if self._folder.is_dir() else []
        mails = [self._read(file) for file in files]
        return [mail for mail in mails if not to or mail.to.lower() == to.lower()]

    def find(self, name: str) -> StoredMail | None:
        """Returns the mail whose name begins so, if there is exactly one."""
        found = [mail for mail in self.mails() if mail.name.startswith(name)]
        return found[0] if len(found) == 1 else None

    def _read(self, file: Path) -> StoredMail:
        message = message_from_bytes(file.read_bytes(), policy=policy.default)
        return StoredMail(file.stem, message)


class KeepingHandler:
    """Keeps each mail that the SMTP server is handed; aiosmtpd calls it."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the mailbox."""
        self._folder = folder
        self._numbers = count()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Writes a mail to a file whose name sorts by time; it appears whole or not at all."""
        name = f"{time.time_ns():020}-{next(self._numbers)}"
        draft = self._folder / f"{name}.draft"
        content = cast("bytes", envelope.content)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        draft.rename(draft.with_suffix(_SUFFIX))
        return _TAKEN


async def listen(handler: Any, host: str, port: int) -> asyncio.Server:
    """Serves SMTP with a handler of aiosmtpd; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(handler, hostname="mailbox.localhost", ident="Pingvas mailbox", loop=loop), host, port
    )


async def _serve(folder: Path, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await listen(KeepingHandler(folder), host, port)
    await stop.wait()
    server.close()


def main() -> None:
    """Serves until SIGTERM: `python -m studio.stack.mailbox FOLDER HOST PORT`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
