"""The outbox of notices, and what accounts have chosen to hear. Each function takes part in the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain.notices import Channel, NoticeChoice, NoticeKind, retry_delay
from svc_payment.domain.statement import Month
from svc_payment.store.models import Account, Notice, StatementMonth, Transaction

_SET_NOTICES = text("SELECT payment.set_notices(:account_id, :low_balance, :mails_statements)")


async def choice(session: AsyncSession, account_id: UUID) -> NoticeChoice:
    """Returns what an account has chosen."""
    query = select(Account.low_balance, Account.mails_statements).where(Account.account_id == account_id)
    row = (await session.execute(query)).one_or_none()
    return NoticeChoice() if row is None else NoticeChoice(row.low_balance, row.mails_statements)


async def choose(session: AsyncSession, account_id: UUID, chosen: NoticeChoice) -> None:
    """Sets what an account is notified of."""
    parameters = {
        "account_id": account_id,
        "low_balance": chosen.low_balance,
        "mails_statements": chosen.mails_statements,
    }
    await session.execute(_SET_NOTICES, parameters)


async def add(
    session: AsyncSession,
    *,
    notice_id: UUID,
    account_id: UUID,
    kind: NoticeKind,
    channel: Channel,
    subject: str,
    content: Mapping[str, str],
) -> None:
    """Notes something that has happened to `subject`, such as a contract; a second note of the same adds nothing."""
    now = func.payment.ledger_now()
    row = insert(Notice).values(
        notice_id=notice_id,
        account_id=account_id,
        business_key=f"{kind}:{subject}",
        channel=channel.value,
        kind=kind.value,
        content=dict(content),
        create_time=now,
        next_time=now,
    )
    await session.execute(row.on_conflict_do_nothing())


async def due(session: AsyncSession, *, limit: int) -> Sequence[Notice]:
    """Returns notices that are to be delivered now, those first that are due longest."""
    query = select(Notice).where(Notice.next_time <= func.payment.ledger_now()).order_by(Notice.next_time).limit(limit)
    return (await session.scalars(query)).all()


async def close(session: AsyncSession, notice: Notice) -> None:
    """Notes that a notice was delivered."""
    await session.execute(update(Notice).where(Notice.notice_id == notice.notice_id).values(next_time=None))


async def put_off(session: AsyncSession, notice: Notice) -> None:
    """Notes that a notice couldn't be delivered, and when it is tried again."""
    attempts = notice.attempts + 1
    next_time = func.payment.ledger_now() + retry_delay(attempts)
    await session.execute(
        update(Notice).where(Notice.notice_id == notice.notice_id).values(attempts=attempts, next_time=next_time)
    )


async def forget(session: AsyncSession, *, age: timedelta, limit: int) -> int:
    """Deletes delivered notices of that age; returns how many."""
    old = (
        select(Notice.notice_id)
        .where(Notice.next_time.is_(None), Notice.create_time < func.payment.ledger_now() - age)
        .limit(limit)
    )
    found = await session.execute(delete(Notice).where(Notice.notice_id.in_(old)).returning(Notice.notice_id))
    return len(found.all())


async def note_statements(session: AsyncSession, month: Month, *, limit: int) -> int:
    """Notes the statements of the next accounts that moved in a month; returns how many accounts it looked at.

    The month's row remembers how far it came, so that each account is looked at once; the notices' key sees to it that
    none gets two, whatever happens to the row.
    """
    await session.execute(insert(StatementMonth).values(start_time=month.start).on_conflict_do_nothing())
    query = select(StatementMonth).where(StatementMonth.start_time == month.start).with_for_update()
    progress = (await session.execute(query)).scalar_one()
    if progress.is_done:
        return 0
    batch = select(Account.account_id, Account.mails_statements).order_by(Account.account_id).limit(limit)
    if progress.last_account_id is not None:
        batch = batch.where(Account.account_id > progress.last_account_id)
    accounts = (await session.execute(batch)).all()
    if not accounts:
        progress.is_done = True
        return 0
    progress.last_account_id = accounts[-1].account_id
    wanted = [account.account_id for account in accounts if account.mails_statements]
    moved = (
        select(Transaction.account_id)
        .where(Transaction.account_id.in_(wanted))
        .where(Transaction.create_time >= month.start, Transaction.create_time < month.end)
        .distinct()
        .subquery()
    )
    now = func.payment.ledger_now()
    content = func.jsonb_build_object("month", literal(month.name))
    rows = select(
        func.gen_random_uuid(),
        moved.c.account_id,
        literal(f"{NoticeKind.STATEMENT}:{month.name}"),
        literal(Channel.MAIL.value),
        literal(NoticeKind.STATEMENT.value),
        content,
        now,
        now,
    )
    columns = ["notice_id", "account_id", "business_key", "channel", "kind", "content", "create_time", "next_time"]
    await session.execute(insert(Notice).from_select(columns, rows).on_conflict_do_nothing())
    return len(accounts)
