"""Owns the statements on mails that wait to be sent: requests put them in, the delivery takes them out.

A mail is written in the transaction that causes it, so that neither is there without the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain import MailKind, retry_delay
from svc_user.store.models import LinkToken, Mail, User


@dataclass(frozen=True, slots=True)
class Recipient:
    """Holds what a mail has to know of its user."""

    user_id: UUID
    account_id: UUID
    email_verified: bool
    locale: str


async def insert_mail(
    session: AsyncSession,
    mail_id: UUID,
    email: str,
    kind: MailKind,
    now: datetime,
    *,
    about: UUID | None = None,
    content: bytes | None = None,
) -> None:
    """Puts a mail to an address, anybody's or nobody's, into the outbox, unless it lies there already.

    `about` is the user, if it isn't who has the address.
    """
    values = {
        "mail_id": mail_id,
        "email": email,
        "user_id": about,
        "kind": kind.value,
        "create_time": now,
        "attempt_count": 0,
        "next_attempt_time": now,
        "content": content,
    }
    await session.execute(insert(Mail).values(values).on_conflict_do_nothing())


async def find_owner(session: AsyncSession, account_id: UUID) -> tuple[UUID, str] | None:
    """Returns id and address of an account's user, for the tasks role; None without one, or if the account is closed."""
    query = select(User.user_id, User.email).where(User.account_id == account_id, User.erase_time.is_(None))
    row = (await session.execute(query.order_by(User.user_id).limit(1))).one_or_none()
    return None if row is None else (row.user_id, row.email)


async def claim_mails(session: AsyncSession, now: datetime, limit: int) -> Sequence[Mail]:
    """Begins an attempt at up to `limit` mails that are due, those first that have waited longest.

    The next attempt is scheduled with it: a process that dies in this one leaves nothing to be repaired. SKIP LOCKED
    lets several processes take different mails.
    """
    due = select(Mail).where(Mail.next_attempt_time <= now).order_by(Mail.next_attempt_time, Mail.mail_id).limit(limit)
    mails = list(await session.scalars(due.with_for_update(skip_locked=True)))
    for mail in mails:
        mail.attempt_count += 1
        mail.next_attempt_time = now + retry_delay(mail.attempt_count)
    await session.flush()
    return mails


async def find_recipient(session: AsyncSession, mail: Mail) -> Recipient | None:
    """Returns the user whom a mail is about, or else who has its address, for the tasks role."""
    is_sought = User.email == mail.email if mail.user_id is None else User.user_id == mail.user_id
    columns = (User.user_id, User.account_id, User.email_verified, User.locale)
    row = (await session.execute(select(*columns).where(is_sought))).one_or_none()
    return None if row is None else Recipient(*row)


async def insert_link_token(session: AsyncSession, token: LinkToken) -> None:
    """Inserts the token of a link that is about to be mailed."""
    session.add(token)
    await session.flush()


async def delete_mail(session: AsyncSession, mail_id: UUID) -> None:
    """Takes a mail out of the outbox."""
    await session.execute(delete(Mail).where(Mail.mail_id == mail_id))
