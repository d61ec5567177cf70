"""What a person reads of their ledger: parts, words, filters and CSV, through the real server and its stubs."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pingvas.payment.v1 import credit_service_pb2
from pingvas.payment.v1.credit_service_pb2 import TransactionFilter

from svc_common.clock import new_id
from svc_common.credits import parse
from svc_common.errors import Reason
from svc_payment.servicer.csv_pages import MOVEMENT_COLUMNS, PART_COLUMNS
from tests.factories.ledger import SettableClock
from tests.factories.payment_service import Payment, payment_service, soon
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of

JOB = UUID("01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11")
OTHER_JOB = UUID("01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12")


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    async with payment_service(await database_for("payment"), identities, redis_server.url) as running_service:
        yield running_service


async def _a_life(payment: Payment, account: UUID) -> None:
    """Moves credits in every way but a refund: bought ones, and a promotion that lapses while a job holds some of it."""
    await payment.grant_call(account, 5_000)
    await payment.reserve_call(account, 3_000, hold=JOB)
    await payment.settle_call(account, JOB, 1_200)
    await payment.reserve_call(account, 1_000, hold=OTHER_JOB)
    await payment.release_call(account, OTHER_JOB)


async def list_call(payment: Payment, account: UUID, **fields: Any) -> list[credit_service_pb2.Transaction]:
    request = credit_service_pb2.ListTransactionsRequest(filter=TransactionFilter(**fields))
    answer = await payment.credits.ListTransactions(request, metadata=payment.identities.as_user(account))
    return list(answer.transactions)


async def export_call(
    payment: Payment, account: UUID, *, size: int = 0, token: str = "", **fields: Any
) -> credit_service_pb2.CsvPage:
    request = credit_service_pb2.ExportTransactionsRequest(
        page_size=size, page_token=token, filter=TransactionFilter(**fields)
    )
    page: credit_service_pb2.CsvPage = await payment.credits.ExportTransactions(
        request, metadata=payment.identities.as_user(account)
    )
    return page


async def test_line_of_a_job_says_what_was_held_charged_and_released(payment: Payment) -> None:
    account = new_id()
    await _a_life(payment, account)

    lines = await list_call(payment, account)

    assert [(line.description, line.amount, line.held, line.spent) for line in lines] == [
        ("Of 1.000 credits held for a job: charged nothing, released 1.000", "1.000", "-1.000", "0.000"),
        ("Held 1.000 credits for a job", "-1.000", "1.000", "0.000"),
        ("Of 3.000 credits held for a job: charged 1.200, released 1.800", "1.800", "-3.000", "1.200"),
        ("Held 3.000 credits for a job", "-3.000", "3.000", "0.000"),
        ("Received 5.000 bought credits", "5.000", "0.000", "0.000"),
    ]
    assert lines[-1].grant_kind == credit_service_pb2.GRANT_KIND_PURCHASED


async def test_what_lapses_while_a_job_holds_it_is_told_apart(payment: Payment) -> None:
    clock, account = SettableClock(payment.ledger), new_id()
    await clock.install()
    await payment.grant_call(
        account, 4_000, kind=credit_service_pb2.GRANT_KIND_PROMOTIONAL, expire_time=soon(seconds=600)
    )
    await payment.reserve_call(account, 3_000, hold=JOB)
    await clock.advance(timedelta(hours=1))

    await payment.settle_call(account, JOB, 1_200)

    lines = await list_call(payment, account)
    assert {(line.description, line.lapsed) for line in lines} == {
        ("Of 3.000 credits held for a job: charged 1.200, 1.800 had lapsed", "1.800"),
        ("1.000 credits lapsed", "1.000"),
        ("Held 3.000 credits for a job", "0.000"),
        ("Received 4.000 credits for free", "0.000"),
    }


async def test_parts_of_all_lines_add_up_to_the_balance(payment: Payment) -> None:
    account = new_id()
    await _a_life(payment, account)
    await payment.reserve_call(account, 700)

    lines, balance = await list_call(payment, account), await payment.balance_call(account)

    assert sum(parse(line.amount) for line in lines) == parse(balance.available)
    assert sum(parse(line.held) for line in lines) == parse(balance.held)


async def test_filters_select_by_kind_job_and_time(payment: Payment) -> None:
    clock, account = SettableClock(payment.ledger), new_id()
    await clock.install()
    start = clock.now
    await payment.grant_call(account, 5_000)
    await clock.advance(timedelta(days=1))
    await payment.reserve_call(account, 3_000, hold=JOB)
    await payment.settle_call(account, JOB, 1_200)
    await clock.advance(timedelta(days=1))
    await payment.reserve_call(account, 1_000, hold=OTHER_JOB)

    async def kinds(**fields: Any) -> list[str]:
        found = await list_call(payment, account, **fields)
        return [credit_service_pb2.TransactionKind.Name(line.kind)[17:] for line in found]

    grant, reserve = credit_service_pb2.TRANSACTION_KIND_GRANT, credit_service_pb2.TRANSACTION_KIND_RESERVE
    assert await kinds(kinds=[grant, reserve]) == ["RESERVE", "RESERVE", "GRANT"]
    assert await kinds(job_id=str(JOB)) == ["SETTLE", "RESERVE"]
    assert await kinds(job_id=str(OTHER_JOB)) == ["RESERVE"]
    assert await kinds(job_id=str(new_id())) == []
    assert await kinds(start_time=start + timedelta(days=1), end_time=start + timedelta(days=2)) == [
        "SETTLE",
        "RESERVE",
    ]
    assert await kinds(end_time=start + timedelta(days=1)) == ["GRANT"]
    assert await kinds(kinds=[reserve], job_id=str(JOB), start_time=start) == ["RESERVE"]


async def test_job_of_another_account_shows_nothing(payment: Payment) -> None:
    account = new_id()
    await _a_life(payment, account)

    assert await list_call(payment, new_id(), job_id=str(JOB)) == []


async def test_exported_pages_are_one_document(payment: Payment) -> None:
    account = new_id()
    await _a_life(payment, account)
    text, token, pages = "", "", 0
    while pages == 0 or token:
        page = await export_call(payment, account, size=2, token=token)
        text, token, pages = text + page.csv, page.next_page_token, pages + 1

    assert pages == 3
    assert text == (await export_call(payment, account)).csv
    names, *rows = csv.reader(io.StringIO(text))
    assert tuple(names) == MOVEMENT_COLUMNS
    listed = await list_call(payment, account)
    assert [row[2:] for row in rows] == [
        [
            line.description,
            line.amount,
            line.held,
            line.spent,
            line.lapsed,
            line.revoked,
            line.job_id,
            line.transaction_id,
        ]
        for line in listed
    ]
    assert text.count("\r\n") == 6


async def test_page_token_is_good_for_its_filter_only(payment: Payment) -> None:
    account = new_id()
    await _a_life(payment, account)
    token = (await export_call(payment, account, size=2)).next_page_token

    refusal = await refusal_of(export_call(payment, account, size=2, token=token, job_id=str(JOB)))

    assert refusal.reason is Reason.PAGE_TOKEN_INVALID


async def test_parts_of_the_balance_add_up_to_it(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 2_000, kind=credit_service_pb2.GRANT_KIND_PLAN, expire_time=soon(days=30))
    await payment.grant_call(account, 5_000)
    await payment.reserve_call(account, 2_500)

    page = await payment.credits.ExportBalance(
        credit_service_pb2.ExportBalanceRequest(), metadata=payment.identities.as_user(account)
    )

    names, *rows = csv.reader(io.StringIO(page.csv))
    assert tuple(names) == PART_COLUMNS
    assert [row[:3] for row in rows] == [["purchased", "5.000", "4.500"], ["held", "", "2.500"]]


async def test_balance_of_nobody_has_names_only(payment: Payment) -> None:
    page = await payment.credits.ExportBalance(
        credit_service_pb2.ExportBalanceRequest(), metadata=payment.identities.as_user(new_id())
    )

    assert page.csv == ",".join(PART_COLUMNS) + "\r\n"
