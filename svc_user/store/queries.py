"""Owns every statement on the schema `users`.

The requests role sees one account's rows only, yet a login starts with an address and a refresh with a token, before
the account is known. The `enter_account_by_...` statements resolve that, here and in `api_keys`: each calls a SECURITY
DEFINER function that answers one exact match with an account id, and makes that account the transaction's own. All else
is then read and written under row-level security. Using the tasks role for these calls would be shorter, but would let
any mistake in an anonymous method reach every password hash.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Function, Text, UpdateBase, cast, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import take_turn
from svc_user.domain import LinkPurpose, PresentedToken
from svc_user.store.models import Identity, LinkToken, RefreshToken, SecondFactor, Session, User

_REGISTERED: Final = frozenset(
    ("user_id", "account_id", "email", "email_verified", "display_name", "password_hash", "create_time", "locale")
)


async def enter_account_by_email(session: AsyncSession, email: str) -> None:
    """Makes the account of the user with this normalised address the transaction's; none, if nobody has it."""
    await enter_account(session, func.users.account_by_email(email))


async def enter_account_by_refresh_token(session: AsyncSession, token_hash: bytes) -> None:
    """Makes the account that a refresh token belongs to the transaction's; none, if the token is unknown."""
    await enter_account(session, func.users.account_by_refresh_token(token_hash))


async def enter_account_by_link_token(session: AsyncSession, token_hash: bytes) -> None:
    """Makes the account that the token of a mailed link belongs to the transaction's; none, if the token is unknown."""
    await enter_account(session, func.users.account_by_link_token(token_hash))


async def enter_account_by_identity(session: AsyncSession, provider: str, subject: str) -> None:
    """Makes the account that an identity is linked to the transaction's; none, if nobody linked it."""
    await enter_account(session, func.users.account_by_identity(provider, subject))


async def enter_account(session: AsyncSession, account: Function[UUID]) -> None:
    """Makes the account that a function of the database finds the transaction's; none, if it finds none."""
    # The empty string is what the policies read as "no account".
    account_id = func.coalesce(cast(account, Text), "")
    await session.execute(select(func.set_config("app.account_id", account_id, True)))  # noqa: FBT003 - SQL's own


async def insert_user(session: AsyncSession, user: User) -> bool:
    """Inserts a user and tells whether the address was free, also of those who can have it back."""
    if await find_holder(session, user.email, user.create_time) is not None:
        return False
    # Requests may give no other columns a value: those are the database's defaults.
    columns = {column.key: getattr(user, column.key) for column in User.__table__.columns if column.key in _REGISTERED}
    statement = insert(User).values(columns).on_conflict_do_nothing(index_elements=[User.email])
    return await count_changed(session, statement) == 1


async def find_holder(session: AsyncSession, email: str, now: datetime) -> UUID | None:
    """Returns the account that has a normalised address, or can have it back; nobody takes it until the transaction ends."""
    await take_turn(session, f"email:{email}")
    holder: UUID | None = await session.scalar(select(func.users.holder_of_email(email, now)))
    return holder


async def get_user(session: AsyncSession, user_id: UUID) -> User | None:
    """Returns the user with an id, if the transaction's account may see it."""
    return await session.get(User, user_id)


async def find_user_by_email(session: AsyncSession, email: str) -> User | None:
    """Returns the user with a normalised address, if the transaction's account may see it."""
    return await session.scalar(select(User).where(User.email == email))


async def find_user_by_identity(session: AsyncSession, provider: str, subject: str) -> User | None:
    """Returns the user that an identity is linked to, if the transaction's account may see it."""
    is_sought = (Identity.provider == provider) & (Identity.subject == subject)
    statement = select(User).join(Identity, Identity.user_id == User.user_id).where(is_sought)
    return await session.scalar(statement)


async def lock_user(session: AsyncSession, user_id: UUID) -> User | None:
    """Returns a user whose row nobody else changes or locks until the transaction ends."""
    return await session.get(User, user_id, with_for_update=True)


async def insert_identity(session: AsyncSession, identity: Identity) -> bool:
    """Inserts an identity and tells whether nobody has it; the unique constraint decides between racing calls."""
    columns = {column.key: getattr(identity, column.key) for column in Identity.__table__.columns}
    is_same = [Identity.provider, Identity.subject]
    statement = insert(Identity).values(columns).on_conflict_do_nothing(index_elements=is_same)
    return await count_changed(session, statement) == 1


async def list_identities(
    session: AsyncSession, user_id: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Identity]:
    """Returns a user's identities, oldest first, behind a place in the list."""
    statement = select(Identity).where(Identity.user_id == user_id)
    if after is not None:
        statement = statement.where(tuple_(Identity.create_time, Identity.identity_id) > after)
    ordered = statement.order_by(Identity.create_time, Identity.identity_id).limit(limit)
    return (await session.scalars(ordered)).all()


async def find_identity(session: AsyncSession, provider: str, subject: str) -> Identity | None:
    """Returns the identity with a provider's id, if the transaction's account may see it."""
    is_sought = (Identity.provider == provider) & (Identity.subject == subject)
    return await session.scalar(select(Identity).where(is_sought))


async def delete_identity(session: AsyncSession, user_id: UUID, identity_id: UUID) -> bool:
    """Deletes an identity of a user and tells whether it was there."""
    is_sought = (Identity.user_id == user_id) & (Identity.identity_id == identity_id)
    return await count_changed(session, delete(Identity).where(is_sought)) == 1


async def delete_identities(session: AsyncSession, user_id: UUID) -> None:
    """Deletes all identities of a user."""
    await session.execute(delete(Identity).where(Identity.user_id == user_id))


async def replace_password_hash(session: AsyncSession, user: User, new_hash: str) -> None:
    """Stores a new hash of the same password, unless the password was changed since `user` was read."""
    is_unchanged = (User.user_id == user.user_id) & (User.password_hash == user.password_hash)
    await session.execute(update(User).where(is_unchanged).values(password_hash=new_hash))


async def set_password(session: AsyncSession, user_id: UUID, password_hash: str) -> None:
    """Stores the hash of a new password."""
    await session.execute(update(User).where(User.user_id == user_id).values(password_hash=password_hash))


async def mark_email_verified(session: AsyncSession, user_id: UUID) -> bool:
    """Marks the address of a user as confirmed and tells whether it wasn't before."""
    is_new = (User.user_id == user_id) & ~User.email_verified
    return await count_changed(session, update(User).where(is_new).values(email_verified=True)) == 1


async def begin_epoch(session: AsyncSession, user_id: UUID) -> int:
    """Begins and returns the next epoch of a user: access tokens of earlier ones are to end."""
    statement = update(User).where(User.user_id == user_id).values(token_epoch=User.token_epoch + 1)
    return int(await session.scalar(statement.returning(User.token_epoch)) or 0)


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
    is_confirmed = (SecondFactor.user_id == Session.user_id) & SecondFactor.confirm_time.is_not(None)
    has_second_factor = select(SecondFactor.user_id).where(is_confirmed).exists()
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
            User.role,
            User.token_epoch,
            User.suspend_time,
            has_second_factor,
            User.erase_time.is_not(None),
        )
        .join(User, User.user_id == Session.user_id)
        .join(RefreshToken, RefreshToken.session_id == Session.session_id)
        .where(RefreshToken.token_hash == token_hash)
        .with_for_update(of=Session)
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else PresentedToken(*tuple(row))


async def begin_generation(
    session: AsyncSession,
    session_id: UUID,
    now: datetime,
    expire_time: datetime,
    *,
    user_agent: str,
    network: str,
) -> None:
    """Moves a locked session to its next generation: the tokens of the one before count as used at `now`."""
    values = {
        "generation": Session.generation + 1,
        "rotate_time": now,
        "expire_time": expire_time,
        "user_agent": user_agent,
        "network": network,
    }
    await session.execute(update(Session).where(Session.session_id == session_id).values(values))


async def revoke_session(session: AsyncSession, session_id: UUID, now: datetime) -> None:
    """Ends a session and with it every token of its family; an ended session stays as it is."""
    is_live = (Session.session_id == session_id) & Session.revoke_time.is_(None)
    await session.execute(update(Session).where(is_live).values(revoke_time=now))


async def list_live_sessions(
    session: AsyncSession, user_id: UUID, now: datetime, *, before: UUID | None, limit: int
) -> Sequence[Session]:
    """Returns at most `limit` sessions of a user that go on, the newest first; their ids sort by time."""
    is_live = (Session.user_id == user_id) & Session.revoke_time.is_(None) & (Session.expire_time > now)
    if before is not None:
        is_live &= Session.session_id < before
    statement = select(Session).where(is_live).order_by(Session.session_id.desc()).limit(limit)
    return (await session.scalars(statement)).all()


async def has_session(session: AsyncSession, user_id: UUID, session_id: UUID) -> bool:
    """Returns whether a user has a session, live or ended."""
    is_the_one = (Session.session_id == session_id) & (Session.user_id == user_id)
    return await session.scalar(select(Session.session_id).where(is_the_one)) is not None


async def find_session_begin(session: AsyncSession, user_id: UUID, session_id: UUID) -> datetime | None:
    """Returns when a session of a user began, if it goes on."""
    is_the_one = (Session.session_id == session_id) & (Session.user_id == user_id) & Session.revoke_time.is_(None)
    return await session.scalar(select(Session.create_time).where(is_the_one))


async def revoke_sessions(session: AsyncSession, user_id: UUID, now: datetime, *, spared: UUID | None = None) -> int:
    """Ends all sessions of a user, or all but one, and tells how many."""
    is_live = (Session.user_id == user_id) & Session.revoke_time.is_(None)
    if spared is not None:
        is_live &= Session.session_id != spared
    return await count_changed(session, update(Session).where(is_live).values(revoke_time=now))


async def find_user_of_link(
    session: AsyncSession, token_hash: bytes, purpose: LinkPurpose, now: datetime
) -> User | None:
    """Returns the user to whom a token was mailed that is good for a purpose at `now`."""
    is_good = (
        (LinkToken.token_hash == token_hash) & (LinkToken.purpose == purpose.value) & (LinkToken.expire_time > now)
    )
    return await session.scalar(select(User).join(LinkToken, LinkToken.user_id == User.user_id).where(is_good))


async def use_link_token(session: AsyncSession, token_hash: bytes) -> bool:
    """Uses a token up and tells whether it was there; of two calls at once, one finds it."""
    return await count_changed(session, delete(LinkToken).where(LinkToken.token_hash == token_hash)) == 1


async def delete_link_tokens(session: AsyncSession, user_id: UUID) -> None:
    """Deletes the tokens of all links that were mailed to a user, but for those that give an address back.

    Whoever stole an account could otherwise make them useless.
    """
    goes = (LinkToken.user_id == user_id) & (LinkToken.purpose != LinkPurpose.UNDO_EMAIL_CHANGE.value)
    await session.execute(delete(LinkToken).where(goes))


async def delete_expired_link_tokens(session: AsyncSession, now: datetime, limit: int) -> int:
    """Deletes at most `limit` tokens that have expired and tells how many."""
    batch = select(LinkToken.token_hash).where(LinkToken.expire_time <= now).limit(limit)
    return await count_changed(session, delete(LinkToken).where(LinkToken.token_hash.in_(batch)))


async def delete_expired_sessions(session: AsyncSession, now: datetime, limit: int) -> int:
    """Deletes at most `limit` sessions that have expired, with their refresh tokens, and tells how many.

    Used tokens are kept until then: a copy that is presented late still has to be recognised as a copy.
    """
    # SKIP LOCKED: a session that a request holds right now is left to the next run instead of being waited for.
    is_over = Session.expire_time <= now
    batch = select(Session.session_id).where(is_over).limit(limit).with_for_update(skip_locked=True)
    return await count_changed(session, delete(Session).where(Session.session_id.in_(batch)))


async def count_changed(session: AsyncSession, statement: UpdateBase) -> int:
    """Runs a statement and returns how many rows it inserted, updated or deleted."""
    connection = await session.connection()
    result = await connection.execute(statement)
    return result.rowcount
