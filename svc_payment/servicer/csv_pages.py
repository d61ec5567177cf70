"""Writes what a person sees of their credits as CSV (RFC 4180), in columns whose names and order stay as they are."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from svc_common.credits import format_credits
from svc_payment.domain.statement import Movement
from svc_payment.store import models

MOVEMENT_COLUMNS: Final = (
    "time",
    "kind",
    "description",
    "available_change",
    "held_change",
    "charged",
    "lapsed",
    "revoked",
    "job_id",
    "transaction_id",
)
PART_COLUMNS: Final = ("kind", "granted", "remaining", "create_time", "expire_time", "grant_id")


def movement_lines(movements: Iterable[Movement], *, has_names: bool) -> str:
    """Returns movements, one a line, below the names of the columns if it is the first page."""
    return _lines(
        MOVEMENT_COLUMNS if has_names else None,
        (
            (
                _moment(each.create_time),
                each.kind.value,
                each.description,
                format_credits(each.amount),
                format_credits(each.held),
                format_credits(each.spent),
                format_credits(each.lapsed),
                format_credits(each.revoked),
                str(each.hold_id or ""),
                str(each.transaction_id),
            )
            for each in movements
        ),
    )


def part_lines(grants: Iterable[models.Grant], held: int) -> str:
    """Returns the parts of a balance: what is left of each grant, and what is held (millicredits) where something is."""
    parts = [
        (
            grant.kind,
            format_credits(grant.amount),
            format_credits(grant.remaining),
            _moment(grant.create_time),
            _moment(grant.expire_time),
            str(grant.grant_id),
        )
        for grant in grants
    ]
    return _lines(PART_COLUMNS, [*parts, ("held", "", format_credits(held), "", "", "")] if held else parts)


def _lines(names: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    if names:
        writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _moment(moment: datetime | None) -> str:
    return moment.isoformat(timespec="milliseconds") if moment else ""
