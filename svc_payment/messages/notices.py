"""Converts what both the servicer and the use cases send: statements, letters and events."""

from dataclasses import fields

from pingvas.generation.v1 import webhook_pb2
from pingvas.payment.v1 import enterprise_pb2, statement_pb2
from pingvas.user.v1 import account_notice_service_pb2

from svc_common.credits import format_credits
from svc_payment.domain.statement import Statement, Totals
from svc_payment.store.models import EnterpriseLead, Notice


def statement_message(statement: Statement) -> statement_pb2.Statement:
    """Returns the message of a month's statement."""
    message = statement_pb2.Statement(
        month=statement.month.name,
        opening=format_credits(statement.opening),
        closing=format_credits(statement.closing),
        totals=_totals_message(statement.totals),
        days=[
            statement_pb2.StatementDay(date=day.isoformat(), totals=_totals_message(totals))
            for day, totals in statement.days
        ],
    )
    message.start_time.FromDatetime(statement.month.start)
    message.end_time.FromDatetime(statement.month.end)
    return message


def low_balance_letter(notice: Notice) -> account_notice_service_pb2.LowBalanceLetter:
    """Returns what a mail says of a balance below its threshold."""
    return account_notice_service_pb2.LowBalanceLetter(
        balance=format_credits(notice.content["balance"]), threshold=format_credits(notice.content["threshold"])
    )


def low_balance_event(notice: Notice) -> webhook_pb2.LowBalance:
    """Returns what a webhook says of a balance below its threshold."""
    message = webhook_pb2.LowBalance(
        balance=format_credits(notice.content["balance"]), threshold=format_credits(notice.content["threshold"])
    )
    message.create_time.FromDatetime(notice.create_time)
    return message


def lead_message(lead: EnterpriseLead) -> enterprise_pb2.EnterpriseLead:
    """Returns the message of a request for the enterprise plan."""
    message = enterprise_pb2.EnterpriseLead(
        lead_id=str(lead.lead_id),
        account_id=str(lead.account_id),
        company=lead.company,
        contact=lead.contact,
        message=lead.message,
    )
    message.create_time.FromDatetime(lead.create_time)
    return message


def _totals_message(totals: Totals) -> statement_pb2.StatementTotals:
    amounts = {
        each.name: format_credits(getattr(totals, each.name)) for each in fields(Totals) if each.name != "charged_jobs"
    }
    return statement_pb2.StatementTotals(charged_jobs=totals.charged_jobs, **amounts)
