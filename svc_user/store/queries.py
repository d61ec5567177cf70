"""Owns every statement on the schema `users`.

The requests role sees one account's rows only, yet a login starts with an address and a refresh with a token, before
the account is known. The two `enter_account_by_...` statements resolve that: each calls a SECURITY DEFINER function
that answers one exact match with an account id, and makes that account the transaction's own. All else is then read
and written under row-level security. Using the tasks role for these calls would be shorter, but would let any mistake
in an anonymous method reach every password hash.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Function, Text, UpdateBase, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.domain import PresentedToken
from svc_user.store.models import RefreshToken, Session, User


async def enter_account_by_email(session: AsyncSession, email: str) -> None:
    """Makes the account of the user with this normalised address the transaction's; none, if nobody has it."""
    await _enter_account(session, func.users.account_by_email(email))


async def enter_account_by_refresh_token(session: AsyncSession, token_hash: bytes) -> None:
    """Makes the account that a refresh token belongs to the transaction's; none, if the token is unknown."""
    await _enter_account(session, func.users.account_by_refresh_token(token_hash))


async def insert_user(session: AsyncSession, user: User) -> bool:
    """Inserts a user and tells whether the address was free; the unique constraint decides between racing calls."""
    columns = {column.key: getattr(user, column.key) for column in User.__table__.columns}
    statement = insert(User).values(columns).on_conflict_do_nothing(index_elements=[User.email])
    return await _count_changed(session, statement) == 1


async def get_user(session: AsyncSession, user_id: UUID) -> User | None:
    """Returns the user with an id, if the transaction's account may see it."""
    return await session.get(User, user_id)


async def find_user_by_email(session: AsyncSession, email: str) -> User | None:
    """Returns the user with a normalised address, if the transaction's account may see it."""
    return await session.scalar(select(User).where(User.email == email))


async def replace_password_hash(session: AsyncSession, user: User, new_hash: str) -> None:
    """Stores a new hash of the same password, unless the password was changed since `user` was read."""
    is_unchanged = (User.user_id == user.user_id) & (User.password_hash == user.password_hash)
    await session.execute(update(User).where(is_unchanged).values(password_hash=new_hash))


async def insert_session(session: AsyncSession, login: Session) -> None:
    """Inserts a new session."""
    session.add(login)
    await session.flush()


async def insert_refresh_token(session: AsyncSession, token: RefreshToken) -> None:
    """Inserts a refresh token of a session that exists."""
    session.add(token)
    await session.flush()


async def find_presented_token(session: AsyncSession, token_hash: bytes) -> PresentedToken | None:
    """Returns what is known of a refresh token and locks its session, so that refreshes of a family take turns."""
    statement = (
        select(
            Session.session_id,
            Session.user_id,
            Session.account_id,
            RefreshToken.generation,
            Session.generation,
            Session.rotate_time,
            Session.create_time,
            Session.expire_time,
            Session.revoke_time,
        )
        .join(RefreshToken, RefreshToken.session_id == Session.session_id)
        .where(RefreshToken.token_hash == token_hash)
        .with_for_update(of=Session)
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else PresentedToken(*row)


async def begin_generation(session: AsyncSession, session_id: UUID, now: datetime, expire_time: datetime) -> None:
    """Moves a locked session to its next generation: the tokens of the one before count as used at `now`."""
    values = {"generation": Session.generation + 1, "rotate_time": now, "expire_time": expire_time}
    await session.execute(update(Session).where(Session.session_id == session_id).values(values))


async def revoke_session(session: AsyncSession, session_id: UUID, now: datetime) -> None:
    """Ends a session and with it every token of its family; an ended session stays as it is."""
    is_live = (Session.session_id == session_id) & Session.revoke_time.is_(None)
    await session.execute(update(Session).where(is_live).values(revoke_time=now))


async def delete_expired_sessions(session: AsyncSession, now: datetime, limit: int) -> int:
    """Deletes at most `limit` sessions that have expired, with their refresh tokens, and tells how many.

    Used tokens are kept until then: a copy that is presented late still has to be recognised as a copy.
    """
    # SKIP LOCKED: a session that a request holds right now is left to the next run instead of being waited for.
    is_over = Session.expire_time <= now
    batch = select(Session.session_id).where(is_over).limit(limit).with_for_update(skip_locked=True)
    return await _count_changed(session, delete(Session).where(Session.session_id.in_(batch)))


async def _enter_account(session: AsyncSession, account: Function[UUID]) -> None:
    # The empty string is what the policies read as "no account".
    account_id = func.coalesce(cast(account, Text), "")
    await session.execute(select(func.set_config("app.account_id", account_id, True)))  # noqa: FBT003 - SQL's own


async def _count_changed(session: AsyncSession, statement: UpdateBase) -> int:
    connection = await session.connection()
    result = await connection.execute(statement)
    return result.rowcount
