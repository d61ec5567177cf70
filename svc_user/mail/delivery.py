"""Sends what lies in the outbox: soon after it was put in, and again with growing delays while the server doesn't take it.

A mail is sent at least once: when the process dies, or the reply is lost, after the server took it, it is sent again
under the same Message-ID. Any number of processes may deliver at the same time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.concurrency import end_tasks
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.objects import ObjectStore
from svc_user import domain
from svc_user.domain import LinkPurpose, MailKind
from svc_user.domain.account_exports import zip_key
from svc_user.mail.letters import LINK_PURPOSES, LetterWriter
from svc_user.mail.smtp import MailRefusedError, MailServer, MailServerError
from svc_user.store import account_exports, outbox
from svc_user.store.models import LinkToken, Mail
from svc_user.store.outbox import Recipient

_log: Final = structlog.get_logger("mail")

# As many connections to the mail server as one process opens.
_AT_ONCE: Final = 8
# Retries, and mails that another process put in.
_POLL_INTERVAL: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Letter:
    mail_id: UUID
    kind: str
    attempt_count: int
    message: EmailMessage


class MailDelivery:
    """Delivers the outbox of svc_user."""

    def __init__(
        self,
        *,
        tasks_database: Database,
        writer: LetterWriter,
        server: MailServer,
        objects: ObjectStore,
        random_bytes: Callable[[int], bytes],
        clock: Callable[[], datetime],
        poll_interval: timedelta = _POLL_INTERVAL,
    ) -> None:
        """Takes the database under the tasks role, and the store that holds what is mailed an address of."""
        self._database = tasks_database
        self._writer = writer
        self._server = server
        self._objects = objects
        self._random_bytes = random_bytes
        self._clock = clock
        self._poll_interval = poll_interval
        self._has_mail = asyncio.Event()

    def announce(self) -> None:
        """Tells that a transaction that put a mail in was committed; what isn't announced is found by polling."""
        self._has_mail.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop` is set."""
        while not stop.is_set():
            self._has_mail.clear()
            if not await self._deliver_safely():
                await self._until_mail_or(stop)

    async def deliver_due(self) -> int:
        """Makes one attempt at the mails that are due, a few at a time, and tells how many it handled."""
        now = self._clock()
        async with self._database.transaction() as transaction:
            mails = await outbox.claim_mails(transaction, now, _AT_ONCE)
            letters = [await self._letter(transaction, mail, now) for mail in mails]
        # The transaction is over: none stays open while the mail server is waited for.
        of_each: dict[str, list[_Letter]] = {}
        for letter in letters:
            if letter is not None:
                of_each.setdefault(letter.message["To"], []).append(letter)
        sends = (self._send_in_order(own) for own in of_each.values())
        failures = [end for end in await asyncio.gather(*sends, return_exceptions=True) if end is not None]
        if failures:
            raise failures[0]
        return len(mails)

    async def _deliver_safely(self) -> int:
        try:
            return await self.deliver_due()
        except ServiceError as error:
            _log.warning("mail.postponed", error=str(error))
        except Exception as error:  # noqa: BLE001 - one failed round must not end the rounds to come
            _log.error("mail.failed", exc_info=error)
        return 0

    async def _until_mail_or(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(self._has_mail.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=self._poll_interval.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(*waits)

    async def _letter(self, transaction: AsyncSession, mail: Mail, now: datetime) -> _Letter | None:
        """Writes a claimed mail, or takes one that needn't be sent out of the outbox."""
        kind = MailKind(mail.kind)
        recipient = await outbox.find_recipient(transaction, mail)
        if domain.is_hopeless(mail.create_time, now):
            _log.error("mail.given_up", mail_id=str(mail.mail_id), kind=mail.kind, attempts=mail.attempt_count - 1)
            recipient = None
        if recipient is None or (kind is MailKind.VERIFY_EMAIL and recipient.email_verified):
            await outbox.delete_mail(transaction, mail.mail_id)
            return None
        address = None
        if kind is MailKind.ACCOUNT_EXPORT:
            address = await self._export_address(transaction, mail, recipient, now)
            if address is None:
                await outbox.delete_mail(transaction, mail.mail_id)
                return None
        token = await self._link_token(transaction, kind, mail.email, recipient, now)
        message = self._writer.write(
            kind,
            mail_id=mail.mail_id,
            to=mail.email,
            locale=recipient.locale,
            token=token,
            now=now,
            content=mail.content,
            address=address,
        )
        return _Letter(mail.mail_id, mail.kind, mail.attempt_count, message)

    async def _export_address(
        self, transaction: AsyncSession, mail: Mail, recipient: Recipient, now: datetime
    ) -> str | None:
        """Signs the address of a copy until the copy is deleted; None if it is gone. Signing asks nobody."""
        export = await account_exports.find_ready(transaction, mail.mail_id, recipient.account_id, now)
        if export is None or export.expire_time is None:
            return None
        key = zip_key(export.account_id, export.export_id, export.attempt)
        return self._objects.public_address(await self._objects.presign_get(key, export.expire_time - now))

    async def _link_token(
        self, transaction: AsyncSession, kind: MailKind, email: str, recipient: Recipient, now: datetime
    ) -> str | None:
        """Draws the token of a mail's link. Each attempt has its own: none waits in the outbox, where it could be read."""
        purpose = LINK_PURPOSES.get(kind)
        if purpose is None:
            return None
        token = domain.format_link_token(self._random_bytes(domain.LINK_SECRET_BYTES))
        row = LinkToken(
            token_hash=domain.hash_link_token(token),
            account_id=recipient.account_id,
            user_id=recipient.user_id,
            purpose=purpose.value,
            email=email if purpose in (LinkPurpose.CHANGE_EMAIL, LinkPurpose.UNDO_EMAIL_CHANGE) else None,
            expire_time=now + domain.LINK_LIFETIMES[purpose],
        )
        await outbox.insert_link_token(transaction, row)
        return token

    async def _send_in_order(self, letters: Sequence[_Letter]) -> None:
        """Sends one after the other what is for one address: of two mails about one thing, people trust the later one."""
        for letter in letters:
            await self._send(letter)

    async def _send(self, letter: _Letter) -> None:
        about = {"mail_id": str(letter.mail_id), "kind": letter.kind, "attempts": letter.attempt_count}
        try:
            await self._server.send(letter.message)
        except MailServerError as error:
            _log.warning("mail.not_taken", error=str(error), **about)
            return
        except MailRefusedError as error:
            _log.warning("mail.refused", error=str(error), **about)
        else:
            _log.info("mail.sent", **about)
        async with self._database.transaction() as transaction:
            await outbox.delete_mail(transaction, letter.mail_id)
