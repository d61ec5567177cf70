"""The insertion of accepted jobs, many in one statement. The rules are in the function `generation.accept_jobs`."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, SmallInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.types import TypeEngine

from svc_common.db import Database
from svc_common.statements import Statement


class Acceptance(enum.Enum):
    """Names what became of a job that was to be accepted."""

    ACCEPTED = "accepted"
    QUEUE_FULL = "queue_full"
    KNOWN = "known"
    """The account's request id has made a job before."""
    KEY_DAY_SPENT = "key_day_spent"
    """The API key may not spend that much more in the day."""
    KEY_MONTH_SPENT = "key_month_spent"


@dataclass(frozen=True, slots=True)
class NewJob:
    """Holds a job that is to be accepted; the names are those of the columns."""

    job_id: UUID
    account_id: UUID
    created_by: UUID
    request_id: str | None
    request_hash: bytes
    first_answer: bytes
    operation_kind: str
    operation: bytes
    source_key: str | None
    mask_key: str | None
    model_id: str
    tier: int
    running_limit: int
    waiting_limit: int
    """Jobs of the account that may wait, this one included."""
    image_count: int
    quoted_millicredits: int
    held_millicredits: int
    queue_position: int
    create_time: datetime
    deadline_time: datetime
    api_key_id: str | None
    """The API key that asked for the job."""
    key_day_limit: int | None
    """Millicredits that the key's jobs may cost in a day of UTC, this one included."""
    key_month_limit: int | None


_TYPES: dict[str, TypeEngine[Any]] = {
    "job_id": PG_UUID(as_uuid=True),
    "account_id": PG_UUID(as_uuid=True),
    "created_by": PG_UUID(as_uuid=True),
    "request_id": Text(),
    "request_hash": LargeBinary(),
    "first_answer": LargeBinary(),
    "operation_kind": Text(),
    "operation": LargeBinary(),
    "source_key": Text(),
    "mask_key": Text(),
    "model_id": Text(),
    "tier": SmallInteger(),
    "running_limit": Integer(),
    "waiting_limit": Integer(),
    "image_count": SmallInteger(),
    "quoted_millicredits": BigInteger(),
    "held_millicredits": BigInteger(),
    "queue_position": Integer(),
    "create_time": DateTime(timezone=True),
    "deadline_time": DateTime(timezone=True),
    "api_key_id": Text(),
    "key_day_limit": BigInteger(),
    "key_month_limit": BigInteger(),
}
_NAMES = tuple(field.name for field in fields(NewJob))
_ACCEPT_JOBS = Statement(
    text(
        f"SELECT number, outcome FROM generation.accept_jobs({', '.join(f':{name}' for name in _NAMES)})"  # noqa: S608 - names of fields
    ).bindparams(*(bindparam(name, type_=ARRAY(_TYPES[name])) for name in _NAMES))
)


async def accept_jobs(database: Database, jobs: Sequence[NewJob]) -> list[Acceptance]:
    """Inserts jobs as queued and counts them as waiting, each as if it came alone; answers in the same order.

    One transaction for all of them. It needs no account in the transaction's setting: the function sets that of each job.
    """
    order = sorted(range(len(jobs)), key=lambda index: jobs[index].account_id)
    parameters = {name: [getattr(jobs[index], name) for index in order] for name in _NAMES}
    rows = await database.call(_ACCEPT_JOBS, parameters)
    outcomes = {order[row["number"] - 1]: Acceptance(row["outcome"]) for row in rows}
    return [outcomes[index] for index in range(len(jobs))]
