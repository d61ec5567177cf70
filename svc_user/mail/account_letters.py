"""What mails about an account's credits are filled with: amounts and dates as people of a language write them."""

import calendar
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from pingvas.payment.v1.enterprise_pb2 import EnterpriseLead
from pingvas.payment.v1.statement_pb2 import Statement, StatementTotals
from pingvas.user.v1.account_notice_service_pb2 import AccountLetter

from svc_user.domain import MailKind

_GIVEN: Final = ("promotional", "plan", "purchased")
_TAKEN: Final = ("charged", "lapsed", "revoked")


def letter_values(kind: MailKind, content: bytes | None) -> dict[str, Any]:
    """Returns what the words of a mail may name, empty for a mail without content."""
    match kind:
        case MailKind.LOW_BALANCE:
            letter = AccountLetter.FromString(content or b"").low_balance
            return {"balance": amount_text(letter.balance), "threshold": amount_text(letter.threshold)}
        case MailKind.STATEMENT:
            return _statement_values(AccountLetter.FromString(content or b"").statement)
        case MailKind.STORAGE_OVERAGE:
            overage = AccountLetter.FromString(content or b"").storage_overage
            return {
                "taken": _gib(overage.image_bytes),
                "quota": _gib(overage.quota_bytes),
                "stop_date": overage.stop_time.ToDatetime().date().isoformat(),
            }
        case _:
            return {}


def letter_tables(kind: MailKind, content: bytes | None, words: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the tables of a mail, each with its title, the names of its columns and its rows."""
    match kind:
        case MailKind.STATEMENT:
            return _statement_tables(AccountLetter.FromString(content or b"").statement, words["labels"])
        case MailKind.ENTERPRISE_LEAD:
            lead, labels = EnterpriseLead.FromString(content or b""), words["labels"]
            rows = [[labels[name], getattr(lead, name)] for name in ("company", "contact", "message", "account_id")]
            return [{"title": labels["lead"], "columns": [], "rows": rows}]
        case _:
            return []


def _statement_tables(statement: Statement, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    totals = [[labels["opening"], amount_text(statement.opening)]]
    totals += [
        [labels[name], _signed(name, getattr(statement.totals, name))]
        for name in (*_GIVEN, *_TAKEN)
        if Decimal(getattr(statement.totals, name))
    ]
    totals.append([labels["closing"], amount_text(statement.closing)])
    days = [
        [day.date, amount_text(_received(day.totals)), *(amount_text(getattr(day.totals, name)) for name in _TAKEN)]
        for day in statement.days
    ]
    columns = [labels[name] for name in ("day", "received", *_TAKEN)]
    tables: list[dict[str, Any]] = [{"title": labels["totals"], "columns": [], "rows": totals}]
    if days:
        tables.append({"title": labels["days"], "columns": columns, "rows": days})
    return tables


def amount_text(amount: str) -> str:
    """Returns an amount with groups of digits and without needless zeros: "12000.500" is "12,000.5"."""
    whole, _, fraction = f"{Decimal(amount):,.3f}".partition(".")
    return f"{whole}.{fraction}".rstrip("0").rstrip(".")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:,.2f}"


def _statement_values(statement: Statement) -> dict[str, Any]:
    year, month = map(int, statement.month.split("-"))
    return {
        "year": year,
        "month": month,
        "month_name": calendar.month_name[month],
        "opening": amount_text(statement.opening),
        "closing": amount_text(statement.closing),
        "charged": amount_text(statement.totals.charged),
        "charged_jobs": statement.totals.charged_jobs,
    }


def _received(totals: StatementTotals) -> str:
    return str(sum((Decimal(getattr(totals, name)) for name in _GIVEN), Decimal()))


def _signed(name: str, amount: str) -> str:
    return f"{'+' if name in _GIVEN else '-'}{amount_text(amount)}"
