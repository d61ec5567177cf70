"""Hands out what a service has of an account, page by page, for the copy that its owner asks for.

Which collections there are and how their rows are shown is left to the services: a collection shows nothing that isn't
named in a message, so that a column that is added is no leak.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.message import Message
from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from svc_common.db import Database
from svc_common.paging import PageTokens

M = TypeVar("M", bound=Message)

RECORDS_A_PAGE: Final = 100
PAGE_BYTES: Final = 1024 * 1024
"""A page ends behind the record that reaches it; gRPC takes messages of 4 MiB."""

Document = Message | Mapping[str, object]
"""What is shown of a row: a message of the public contract, or what a JSON object holds where there is none."""
Place = tuple[str, ...]
"""The sort key of a record as text."""
Read = Callable[[AsyncSession, UUID, Place | None, int], Awaitable[Sequence[tuple[Place, Document]]]]
"""Returns at most so many records of an account behind a place, each with its own place."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Records of one kind."""

    name: str
    read: Read


def rows_of(
    name: str,
    model: Any,
    keys: Sequence[InstrumentedAttribute[Any]],
    show: Callable[[Any], Document | Awaitable[Document]],
) -> Collection:
    """Returns the collection of a table's rows that have the account's id, in the order of their keys."""

    async def read(
        session: AsyncSession, account_id: UUID, after: Place | None, limit: int
    ) -> Sequence[tuple[Place, Document]]:
        statement = select(model).where(model.account_id == account_id)
        if after is not None:
            values = [key.type.python_type(part) for key, part in zip(keys, after, strict=True)]
            statement = statement.where(tuple_(*keys) > tuple_(*values))
        rows = (await session.scalars(statement.order_by(*keys).limit(limit))).all()
        return [(tuple(str(getattr(row, key.key)) for key in keys), await _shown(show(row))) for row in rows]

    return Collection(name, read)


def single(name: str, show: Callable[[AsyncSession, UUID], Awaitable[Document | None]]) -> Collection:
    """Returns a collection of one record, or of none."""

    async def read(
        session: AsyncSession, account_id: UUID, after: Place | None, _limit: int
    ) -> Sequence[tuple[Place, Document]]:
        document = None if after is not None else await show(session, account_id)
        return [] if document is None else [((str(account_id),), document)]

    return Collection(name, read)


def without(message: M, *fields: str) -> M:
    """Returns a message after fields were taken out of it that its owner's copy must not have, such as secrets."""
    for name in fields:
        message.ClearField(name)
    return message


class AccountPager:
    """Answers ExportAccount of one service."""

    def __init__(self, *, database: Database, page_tokens: PageTokens, collections: Sequence[Collection]) -> None:
        """Takes the database under the requests role, which shows a transaction the rows of its account only."""
        self._database = database
        self._page_tokens = page_tokens
        self._collections = collections

    async def page(self, request: ExportAccountRequest) -> AccountPage:
        """Returns the page behind a token; raises PAGE_TOKEN_INVALID."""
        account_id, scope = UUID(request.account_id), f"account:{request.account_id}"
        number, *rest = self._page_tokens.decode(request.page_token, scope) if request.page_token else ("0",)
        index, after = int(number), tuple(rest) or None
        collection = self._collections[index]
        async with self._database.transaction(account_id) as session:
            # One more than the page holds tells whether another page follows.
            found = await collection.read(session, account_id, after, RECORDS_A_PAGE + 1)
        page = AccountPage(collection=collection.name)
        size_bytes = 0
        for place, document in found[:RECORDS_A_PAGE]:
            record = _json(document)
            page.records.append(record)
            size_bytes += len(record.encode())
            after = place
            if size_bytes >= PAGE_BYTES:
                break
        if len(page.records) < len(found):
            page.next_page_token = self._page_tokens.encode(scope, number, *(after or ()))
        elif index + 1 < len(self._collections):
            page.next_page_token = self._page_tokens.encode(scope, str(index + 1))
        return page


async def _shown(document: Document | Awaitable[Document]) -> Document:
    return await document if isinstance(document, Awaitable) else document


def _json(document: Document) -> str:
    if isinstance(document, Message):
        document = json_format.MessageToDict(document, preserving_proto_field_name=True)
    return json.dumps(document, ensure_ascii=False)
