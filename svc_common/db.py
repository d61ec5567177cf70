"""PostgreSQL for services: one pool for each role, one way to open a transaction, and the form of row-level security.

A transaction opened for an account sees that account's rows only: the account is a setting of the transaction, so
nothing is left on the connection when it goes back to the pool. Tables and queries belong to the services; roles and
schemas to `svc_common.migrations`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import sqlalchemy.exc
import structlog
from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from svc_common.caller import remaining_seconds
from svc_common.capacity import Capacity, storage_full
from svc_common.concurrency import KeyedLocks
from svc_common.errors import Reason, ServiceError, dependency_unavailable
from svc_common.free_space import Store
from svc_common.roles import Roles, grant_statements, migration_roles, rls_statements
from svc_common.statements import Direct, Parameters, Statement

__all__ = [
    "Database",
    "Roles",
    "grant_statements",
    "metadata_for",
    "migration_roles",
    "rls_statements",
    "take_turn",
    "try_advisory_lock",
]

_log: Final = structlog.get_logger("db")

# Work without a caller (sweeps) has no deadline of its own.
_DEFAULT_STATEMENT_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
_USUAL_WAIT_SECONDS: Final = 5.0

_NAMING_CONVENTION: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_ACCOUNT: Final = "account_id"
_TURNS: Final = "turns"

# asyncpg lets OSError and TimeoutError out as they are when it can't connect; its own errors come from direct statements.
# Those of the adapter come from the pool, when the server refuses the connection that a direct statement is to go to:
# SQLAlchemy makes a DBAPIError of them only where it sends the statement as well.
_DRIVER_ERRORS: Final = (
    sqlalchemy.exc.DBAPIError,
    AsyncAdapt_asyncpg_dbapi.Error,
    sqlalchemy.exc.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

_STATEMENT_TIMED_OUT: Final = "57014"  # query_canceled
# SQLSTATEs of a server that is going away, coming up, or full: admin_shutdown, crash_shutdown, cannot_connect_now,
# too_many_connections.
_SERVER_GONE_STATES: Final = frozenset({"57P01", "57P02", "57P03", "53300"})
_DISK_FULL: Final = "53100"  # disk_full
# Said also where the limit is a quota or the largest size of a file, for which PostgreSQL has no state of its own.
_CANNOT_EXTEND: Final = "could not extend file"


def metadata_for(schema: str) -> MetaData:
    """Returns the metadata for the tables of one service.

    For use as `class Base(DeclarativeBase): metadata = metadata_for("payment")`.
    """
    return MetaData(schema=schema, naming_convention=_NAMING_CONVENTION)


class _Connection(asyncpg.Connection):
    """A connection that sends the settings of a transaction together with its BEGIN.

    A statement of its own would cost a round trip in every transaction. SET LOCAL ends with the transaction, so a
    pooled connection carries nothing over.
    """

    __slots__ = ("settings",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Runs a statement; asyncpg begins every transaction through this method."""
        if self.settings and query.startswith("BEGIN"):
            query, self.settings = query + self.settings, ""
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


class _TurnsTaken:
    """The turns that one transaction has taken among those of its process."""

    __slots__ = ("_locks", "_taken")

    def __init__(self, locks: KeyedLocks) -> None:
        self._locks = locks
        self._taken: dict[str, asyncio.Lock] = {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exception: object) -> None:
        for lock in self._taken.values():
            lock.release()

    async def take(self, key: str) -> None:
        """Waits for a turn, no longer than for a statement; a turn that the transaction has already is taken at once."""
        if key in self._taken:
            return
        lock = self._locks.of(key)
        try:
            async with asyncio.timeout(_statement_seconds()):
                await lock.acquire()
        except TimeoutError as error:
            raise _deadline_too_short() from error
        self._taken[key] = lock


class _AccountSession(Session):
    """A session that knows for which account its transactions are; see `_prepare_transaction`."""


class Database:
    """A pool of connections under one login role.

    Lost connections and an unreachable server are raised as ServiceError DEPENDENCY_UNAVAILABLE, an exhausted pool as
    OVERLOADED, a disk without room as STORAGE_FULL, and a statement that ran into the call's deadline as DEADLINE_TOO_SHORT.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        overflow: int = 10,
        wait_seconds: float = _USUAL_WAIT_SECONDS,
        most_sweeps: int | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        """Takes a postgresql+asyncpg:// URL, and what is told when its disk is full. Connects at the first use, never here.

        It keeps up to `pool_size` connections, and opens `overflow` more while they are all taken; whoever finds none
        free waits for `wait_seconds`. `most_sweeps` is for how many sweeps they were counted; None: one less than there
        are connections.
        """
        self.most_connections = pool_size + overflow
        self.most_sweeps = self.most_connections - 1 if most_sweeps is None else most_sweeps
        self._capacity = capacity
        self._turns = KeyedLocks()
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=overflow,
            pool_timeout=wait_seconds,
            # The connection that was used last: its statements are prepared and planned, and its process is warm.
            pool_use_lifo=True,
            # The text of an error goes to the log; what users wrote, and their keys, don't belong there.
            hide_parameters=True,
            # jit costs more than it gives on short statements, and slows asyncpg's type introspection.
            connect_args={
                "timeout": _CONNECT_SECONDS,
                "server_settings": {"jit": "off"},
                "connection_class": _Connection,
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _prepare_checkout)

    @asynccontextmanager
    async def transaction(self, account_id: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """Opens one transaction: committed at the end of the block, rolled back when it raises.

        With an account, row-level security shows its rows only; without, the role for requests sees none and the role
        for tasks all. The connection is taken, and the transaction begun, at the first statement; statements must go
        through the session, never through the driver below it.
        """
        turns = _TurnsTaken(self._turns)
        session = AsyncSession(
            self._engine,
            sync_session_class=_AccountSession,
            expire_on_commit=False,
            info={_ACCOUNT: account_id, _TURNS: turns},
        )
        with turns, self._service_errors():
            try:
                yield session
                await session.commit()
            except BaseException:
                # Shielded: a cancelled call must give its connection back, or the pool would run dry.
                await asyncio.shield(asyncio.ensure_future(session.close()))
                raise
        # The commit gave the connection back. Rows that outlive the block can't load anything through it any more.
        session.expunge_all()

    @asynccontextmanager
    async def direct(self, account_id: UUID | None = None) -> AsyncIterator[Direct]:
        """Opens one transaction like `transaction`, with the driver itself, for statements compiled beforehand.

        The block may raise what it likes; asyncpg's errors that mean no failure of the database come through as they are.
        """
        async with self._driver() as driver:
            driver.settings = _transaction_settings(account_id)
            async with driver.transaction():
                yield Direct(driver)

    async def call(self, statement: Statement, parameters: Parameters) -> Sequence[asyncpg.Record]:
        """Executes one statement that is a transaction by itself, in one round trip, and returns its rows.

        No account is set: for the role for tasks, and for functions that see to the account themselves.
        """
        async with self._driver() as driver:
            seconds = _statement_seconds()
            try:
                return await driver.fetch(statement.sql, *statement.arguments(parameters), timeout=seconds)
            except TimeoutError as error:
                raise _deadline_too_short() from error

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator["_Connection"]:
        """Takes a connection of the pool for work below SQLAlchemy, and gives it back however that ends."""
        with self._service_errors():
            pooled = await self._engine.raw_connection()
            usable = True
            try:
                yield pooled.driver_connection  # type: ignore[misc]
            except asyncpg.InternalClientError:
                usable = False
                raise
            finally:
                # Shielded, as in `transaction`.
                await asyncio.shield(asyncio.ensure_future(greenlet_spawn(_give_back, pooled, usable)))

    @asynccontextmanager
    async def advisory_lock(self, key: str) -> AsyncIterator[bool]:
        """Tries to take a lock that all processes on this database share; yields whether it was got.

        The lock is given back at the end of the block. It hangs on a connection of its own, so it vanishes with the
        process, and no transaction stays open while it is held.
        """
        with self._service_errors():
            connection, got = await self._lock(key)
        try:
            yield got
        finally:
            if got:
                await _unlock(connection, key)
            await connection.close()

    async def _lock(self, key: str) -> tuple[AsyncConnection, bool]:
        connection = await self._engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            statement = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
            return connection, bool(await connection.scalar(statement, {"key": key}))
        except BaseException:
            await connection.close()
            raise

    @contextmanager
    def _service_errors(self) -> Iterator[None]:
        """Raises what callers are told about a failure of the database; defects of ours come through as they are."""
        try:
            yield
        except _DRIVER_ERRORS as error:
            if refusal := self._as_service_error(error):
                raise refusal from error
            raise

    def _as_service_error(self, error: Exception) -> ServiceError | None:
        """Returns what callers are told about a failure of the database, or None when it is a defect of ours."""
        if _is_disk_full(error):
            if self._capacity is not None:
                self._capacity.note_refusal(Store.POSTGRESQL)
            return storage_full(Store.POSTGRESQL)
        refusal = _as_service_error(error)
        if refusal is None or refusal.reason is not Reason.DEPENDENCY_UNAVAILABLE or self._capacity is None:
            return refusal
        # A server that can't write its log stops, and comes up when there is room.
        return storage_full(Store.POSTGRESQL) if self._capacity.is_full(Store.POSTGRESQL) else refusal

    async def ping(self) -> None:
        """Returns when the server answers a query; raises ServiceError DEPENDENCY_UNAVAILABLE when it doesn't."""
        async with self.transaction() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


async def try_advisory_lock(session: AsyncSession, key: str) -> bool:
    """Tries to take a lock that all processes share until the end of the session's transaction; returns whether it was got."""
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")
    return bool(await session.scalar(statement, {"key": key}))


async def take_turn(session: AsyncSession, key: str) -> None:
    """Waits for a lock that all processes share, and keeps it until the end of the session's transaction.

    The transactions of one process queue here, not in PostgreSQL: a caller with many calls in one turn keeps one of them
    waiting on a connection, and leaves the others to the rest of the world. So it is best the first statement.
    """
    turns: _TurnsTaken = session.info[_TURNS]
    await turns.take(key)
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def _give_back(pooled: PoolProxiedConnection, usable: bool) -> None:
    """Returns a connection to the pool, or closes one that is of no use or whose transaction nobody could end."""
    driver: _Connection = pooled.driver_connection  # type: ignore[assignment]
    if not usable or driver.is_in_transaction():
        pooled.invalidate()
    pooled.close()


async def _unlock(connection: AsyncConnection, key: str) -> None:
    try:
        await connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), {"key": key})
    except sqlalchemy.exc.DBAPIError:
        # Most likely the connection is gone, and the lock with it. If not, it must not reach the pool with the lock.
        await connection.invalidate()


def _prepare_checkout(connection: Any, _record: object, _proxy: object) -> None:
    """Lets the pool replace a connection that the server has closed meanwhile, and forgets what the last user prepared.

    asyncpg notices a closed socket by itself, so this costs no round trip, unlike `pool_pre_ping`.
    """
    driver: _Connection = connection.driver_connection
    if driver.is_closed():
        raise sqlalchemy.exc.DisconnectionError("the server closed the connection while it was idle")
    driver.settings = ""


def _prepare_transaction(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Prepares the settings of a transaction that begins, also of one that follows a commit within the same block."""
    if transaction.nested:
        return
    driver: _Connection = connection.connection.driver_connection  # type: ignore[assignment]
    driver.settings = _transaction_settings(session.info[_ACCOUNT])


event.listen(_AccountSession, "after_begin", _prepare_transaction)


def _transaction_settings(account_id: UUID | None) -> str:
    # Both values are formatted from an integer and a UUID, so nothing of a caller's gets into the statement.
    settings = f"SET LOCAL statement_timeout = {int(1000 * _statement_seconds())};"
    return settings if account_id is None else f"{settings}SET LOCAL app.account_id = '{account_id.hex}';"


def _statement_seconds() -> float:
    remaining = remaining_seconds()
    seconds = _DEFAULT_STATEMENT_SECONDS if remaining is None else min(remaining, _DEFAULT_STATEMENT_SECONDS)
    # Zero would mean to PostgreSQL: no limit.
    return max(0.001, seconds)


def _is_disk_full(error: Exception) -> bool:
    return _sqlstate(error) == _DISK_FULL or (_sqlstate(error) is not None and _CANNOT_EXTEND in str(error))


def _as_service_error(error: Exception) -> ServiceError | None:
    """Returns what callers are told about a database that is away or slow, or None."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return ServiceError(
            Reason.OVERLOADED,
            "All connections to the database are busy. Call again a little later.",
            retry_after=timedelta(seconds=1),
        )
    state = _sqlstate(error)
    if state == _STATEMENT_TIMED_OUT:
        return _deadline_too_short()
    if state in _SERVER_GONE_STATES or _is_disconnect(error):
        _log.warning("postgresql.unavailable", error=str(error))
        return dependency_unavailable("postgresql", "The database doesn't answer. Retry with backoff.")
    return None


def _deadline_too_short() -> ServiceError:
    return ServiceError(
        Reason.DEADLINE_TOO_SHORT,
        "The database didn't finish before the deadline. Repeat the call with a longer one.",
    )


def _sqlstate(error: Exception) -> str | None:
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None)


def _is_disconnect(error: Exception) -> bool:
    # asyncpg's InternalClientError comes from a connection that can't carry a statement any more: the server has ended it
    # with an error, and the end of the stream hasn't been read yet. None of ours runs two statements on one at a time.
    if isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError):
        return True
    state = _sqlstate(error)
    # Class 08: connection exceptions.
    if state is not None and state.startswith("08"):
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return error.connection_invalidated
    # asyncpg's complaint of a connection that is closed has no state; that of an argument's type is a ValueError as well.
    return isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
