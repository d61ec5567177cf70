"""Statements that go to PostgreSQL's driver as they are.

They are written with SQLAlchemy like all others and compiled once, at import. Executing one through SQLAlchemy takes as long
again as PostgreSQL does, and three times that in a process that has been idle; a job waits for a dozen of them (docs/adr/0016).
What isn't on the way of every job goes through `Database.transaction`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import asyncpg
from sqlalchemy import ClauseElement, inspect
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm.attributes import instance_dict
from sqlalchemy.orm.instrumentation import ClassManager
from sqlalchemy.types import TypeEngine

_DIALECT: Final = asyncpg_dialect()  # type: ignore[no-untyped-call]

Parameters = Mapping[str, Any]
EntityT = TypeVar("EntityT")


class Statement:
    """A statement of SQLAlchemy's, compiled once; constants are a part of it, and each `bindparam` a parameter."""

    __slots__ = ("_constants", "_encoders", "_names", "sql")

    def __init__(self, clause: ClauseElement) -> None:
        """Compiles a clause whose text doesn't depend on its parameters: lists are arrays, not IN (...)."""
        compiled: Any = clause.compile(dialect=_DIALECT)
        self.sql: str = compiled.string
        self._names: tuple[str, ...] = tuple(compiled.positiontup)
        binds = {name: compiled.binds[name] for name in self._names}
        encoders = {name: _dialect_type(bind.type).bind_processor(_DIALECT) for name, bind in binds.items()}
        self._encoders: dict[str, Callable[[Any], Any]] = {name: encode for name, encode in encoders.items() if encode}
        self._constants = {name: self._encoded(name, bind.value) for name, bind in binds.items() if not bind.required}

    def arguments(self, parameters: Parameters) -> list[Any]:
        """Returns what the driver gets, in its order; parameters that the statement hasn't are left out.

        Raises:
            KeyError: one is missing.
        """
        constants = self._constants
        return [constants[name] if name in constants else self._encoded(name, parameters[name]) for name in self._names]

    def _encoded(self, name: str, value: Any) -> Any:
        encode = self._encoders.get(name)
        return value if encode is None else encode(value)


class RowLoader(Generic[EntityT]):
    """Makes objects of a mapped class of the driver's rows, in which its columns stand side by side in their order.

    No session knows the objects: what is changed in them is written nowhere.
    """

    def __init__(self, entity: type[EntityT]) -> None:
        """Takes the class; its attributes have the names of their columns."""
        columns = inspect(entity).columns
        self._manager: ClassManager[EntityT] = inspect(entity).class_manager
        self._names = tuple(column.key for column in columns)
        decoders = {column.key: _dialect_type(column.type).result_processor(_DIALECT, None) for column in columns}
        self._decoders = {name: decode for name, decode in decoders.items() if decode}

    def load(self, row: Iterable[Any]) -> EntityT:
        """Returns the object of a row, or of the part of one."""
        values = dict(zip(self._names, row, strict=True))
        for name, decode in self._decoders.items():
            values[name] = decode(values[name])
        # As SQLAlchemy does it when it loads a row: without a look at what each value replaces.
        entity = self._manager.new_instance()
        instance_dict(entity).update(values)
        return entity


class Direct:
    """A transaction on the driver; see `Database.direct`."""

    __slots__ = ("_driver",)

    def __init__(self, driver: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Takes a connection on which the transaction has begun."""
        self._driver = driver

    async def fetch(self, statement: Statement, parameters: Parameters) -> list[asyncpg.Record]:
        """Executes a statement and returns its rows.

        Raises:
            asyncpg.PostgresError: what the server refused; the transaction can only be rolled back.
        """
        return await self._driver.fetch(statement.sql, *statement.arguments(parameters))

    async def fetch_one(self, statement: Statement, parameters: Parameters) -> asyncpg.Record | None:
        """Executes a statement that gives one row at most, and returns it."""
        rows = await self.fetch(statement, parameters)
        return rows[0] if rows else None


def _dialect_type(column_type: TypeEngine[Any]) -> TypeEngine[Any]:
    return column_type.dialect_impl(_DIALECT)
