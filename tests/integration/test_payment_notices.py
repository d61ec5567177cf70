"""What accounts' owners hear of their credits: warnings and monthly statements, which the real svc_user mails."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pingvas.payment.v1 import credit_service_pb2, statement_pb2
from pingvas.user.v1 import account_notice_service_pb2
from pingvas.user.v1.account_notice_service_pb2_grpc import AccountNoticeServiceStub

from svc_common.clients import channel
from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_payment.domain.ledger import GrantKind
from svc_payment.domain.notices import NoticeChoice
from svc_payment.store import notices
from tests.factories.ledger import HOUR, Ledger, SettableClock, hold_terms, ledger_in
from tests.factories.payment_service import Payment, payment_service, violations
from tests.factories.user_service import UserService, running_user_service
from tests.harness_mail import MailServer, text_of
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, refusal_of

WAIT_SECONDS = 120
MIDDLE = datetime(2026, 11, 15, 12, tzinfo=UTC)


@pytest.fixture
async def payment(
    database_for: DatabaseFactory, identities: Identities, redis_server: RedisServer
) -> AsyncIterator[Payment]:
    # Its own sweeps find nobody at the other services' addresses: what is delivered here is delivered by the tests.
    async with payment_service(await database_for("payment"), identities, redis_server.url) as running:
        yield running


async def choose(payment: Payment, account: UUID, **fields: Any) -> credit_service_pb2.CreditNotices:
    request = credit_service_pb2.SetCreditNoticesRequest(**{"mails_statements": True, **fields})
    chosen: credit_service_pb2.CreditNotices = await payment.credits.SetCreditNotices(
        request, metadata=payment.identities.as_user(account)
    )
    return chosen


async def spend(payment: Payment, account: UUID, held: int, used: int) -> None:
    hold = new_id()
    await payment.reserve_call(account, held, hold=hold)
    await payment.settle_call(account, hold, used)


async def warnings(payment: Payment, account: UUID) -> list[tuple[int, int]]:
    """Returns balance and threshold of each warning by mail, and checks that each is an event as well."""
    rows = await payment.ledger.as_admin(
        f"SELECT channel, content FROM payment.notices WHERE account_id = '{account}' ORDER BY create_time"  # noqa: S608
    )
    contents = {
        way: [tuple(json.loads(row["content"]).values()) for row in rows if row["channel"] == way]
        for way in ("mail", "event")
    }
    assert contents["mail"] == contents["event"]
    return contents["mail"]


async def test_choice_is_kept_and_absent_for_who_has_chosen_nothing(payment: Payment) -> None:
    account, other = new_id(), new_id()
    await choose(payment, account, low_balance="500", mails_statements=False)

    async def read(whose: UUID) -> Any:
        request = credit_service_pb2.GetCreditNoticesRequest()
        return await payment.credits.GetCreditNotices(request, metadata=payment.identities.as_user(whose))

    assert await read(account) == credit_service_pb2.CreditNotices(low_balance="500.000", mails_statements=False)
    assert await read(other) == credit_service_pb2.CreditNotices(mails_statements=True)
    await choose(payment, account)
    assert await read(account) == credit_service_pb2.CreditNotices(mails_statements=True)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.2345"])
async def test_threshold_that_is_no_amount_is_refused(payment: Payment, text: str) -> None:
    refused = await refusal_of(choose(payment, new_id(), low_balance=text))
    assert violations(refused) == ["low_balance"]


async def test_key_may_read_the_choice_and_not_change_it(payment: Payment) -> None:
    as_key = payment.identities.as_api_key(new_id(), "read")
    await payment.credits.GetCreditNotices(credit_service_pb2.GetCreditNoticesRequest(), metadata=as_key)
    request = credit_service_pb2.SetCreditNoticesRequest(low_balance="5")
    refused = await refusal_of(payment.credits.SetCreditNotices(request, metadata=as_key))
    assert refused.reason is Reason.SCOPE_MISSING


async def test_each_fall_below_the_threshold_warns_once(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 10_000)
    await choose(payment, account, low_balance="5")
    # What is only held is still there: neither the hold nor its release is a fall.
    await spend(payment, account, 9_000, 1_000)
    assert await warnings(payment, account) == []
    await spend(payment, account, 6_000, 4_500)
    assert await warnings(payment, account) == [(4_500, 5_000)]
    await spend(payment, account, 2_000, 1_000)
    assert await warnings(payment, account) == [(4_500, 5_000)]
    await payment.grant_call(account, 5_000)
    await spend(payment, account, 4_000, 3_501)
    assert await warnings(payment, account) == [(4_500, 5_000), (4_999, 5_000)]


async def test_balance_at_the_threshold_or_below_a_new_one_warns_of_nothing(payment: Payment) -> None:
    account = new_id()
    await payment.grant_call(account, 10_000)
    await choose(payment, account, low_balance="5")
    await spend(payment, account, 5_000, 5_000)
    await choose(payment, account, low_balance="8")
    await spend(payment, account, 100, 100)
    assert await warnings(payment, account) == []


async def renew(payment: Payment, account: UUID, invoice: str, amount: int, *replaced: str) -> None:
    """Grants a month's credits in place of another's."""
    await payment.ledger.as_admin(
        f"SELECT payment.grant_plan_credits('{account}', '{invoice}', 20::smallint, {amount}, "
        f"ARRAY{list(replaced)}::text[], false, false)"
    )


async def test_fall_within_a_movement_that_ends_above_warns_of_nothing(payment: Payment) -> None:
    """A renewal takes the old month's credits before it gives the new one's."""
    account = new_id()
    await renew(payment, account, "first", 10_000)
    await choose(payment, account, low_balance="5")
    await renew(payment, account, "second", 10_000, "first")
    assert await warnings(payment, account) == []
    await renew(payment, account, "third", 4_000, "second")
    assert await warnings(payment, account) == [(4_000, 5_000)]


async def test_credits_that_lapse_warn(payment: Payment) -> None:
    account, clock = new_id(), SettableClock(payment.ledger)
    await clock.install()
    await payment.ledger.grant(account, 10_000, GrantKind.PROMOTIONAL, expire_time=clock.now + HOUR)
    await choose(payment, account, low_balance="5")
    await clock.advance(2 * HOUR)
    await payment.ledger.sweep()
    assert await warnings(payment, account) == [(0, 5_000)]


def statement_call(payment: Payment, account: UUID, month: str) -> Any:
    request = credit_service_pb2.GetStatementRequest(month=month)
    return payment.credits.GetStatement(request, metadata=payment.identities.as_user(account))


async def a_month(payment: Payment, account: UUID, clock: SettableClock) -> None:
    """Moves credits in October, on two days of November, and in December; the clock begins in the middle of October."""
    await payment.ledger.grant(account, 1_000)
    await clock.advance(timedelta(days=31))
    await payment.ledger.grant(account, 20_000, GrantKind.PLAN)
    await payment.ledger.grant(account, 3_000, GrantKind.PROMOTIONAL, expire_time=clock.now + HOUR)
    await spend(payment, account, 2_000, 1_500)
    await clock.advance(timedelta(days=2))
    await payment.ledger.sweep()
    await spend(payment, account, 500, 250)
    hold = new_id()
    await payment.reserve_call(account, 4_000, hold=hold, lifetime=timedelta(days=30))
    await clock.advance(timedelta(days=20))
    await payment.settle_call(account, hold, 4_000)


async def test_statement_adds_up_a_month_by_kind_and_day(payment: Payment) -> None:
    account, clock = new_id(), SettableClock(payment.ledger)
    clock.now = MIDDLE - timedelta(days=31)
    await clock.install()
    await a_month(payment, account, clock)

    november = await statement_call(payment, account, "2026-11")

    assert november.opening == "1.000"
    # The hold that was open at the end counts as present.
    assert november.closing == "20.750"
    assert november.totals == statement_pb2.StatementTotals(
        promotional="3.000",
        plan="20.000",
        purchased="0.000",
        charged="1.750",
        lapsed="1.500",
        revoked="0.000",
        charged_jobs=2,
    )
    assert [(day.date, day.totals.charged, day.totals.lapsed) for day in november.days] == [
        ("2026-11-15", "1.500", "0.000"),
        ("2026-11-17", "0.250", "1.500"),
    ]
    assert (november.start_time.ToDatetime(), november.end_time.ToDatetime()) == (
        datetime(2026, 11, 1),  # noqa: DTZ001 - ToDatetime returns a naive time in UTC
        datetime(2026, 12, 1),  # noqa: DTZ001
    )
    december = await statement_call(payment, account, "2026-12")
    assert (december.opening, december.closing) == ("20.750", "16.750")
    assert (await statement_call(payment, account, "2026-09")).totals.charged_jobs == 0
    nobody = await statement_call(payment, new_id(), "2026-11")
    assert (nobody.opening, nobody.closing, list(nobody.days)) == ("0.000", "0.000", [])


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "", "1026-01"])
async def test_month_that_is_none_is_refused(payment: Payment, month: str) -> None:
    assert violations(await refusal_of(statement_call(payment, new_id(), month))) == ["month"]


@pytest.fixture
async def users(
    database_for: DatabaseFactory, identities: Identities, mail_server: MailServer, tmp_path: Path
) -> AsyncIterator[UserService]:
    settings = {"smtp_url": mail_server.url, "service_jwks_file": identities.folder / "services.jwks"}
    async with running_user_service(await database_for("user"), tmp_path, **settings) as running:
        yield running


async def mail_about(server: MailServer, email: str) -> EmailMessage:
    """Returns the second mail to somebody, which comes with a sweep; the first one confirms the address."""

    async def is_there() -> bool:
        return len(server.to(email)) > 1

    await until(is_there, within_seconds=WAIT_SECONDS)
    return server.to(email)[1]


async def test_warning_is_mailed_in_the_language_of_its_owner(
    users: UserService,
    mail_server: MailServer,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
) -> None:
    place = await database_for("payment")
    addresses = {"user_internal_address": users.internal_address}
    english, korean = [await users.register(locale=locale) for locale in ("en", "ko")]
    async with payment_service(place, identities, redis_server.url, **addresses) as payment:
        for person in (english, korean):
            account = UUID(person.account_id)
            await payment.grant_call(account, 12_000_500)
            await choose(payment, account, low_balance="12000.5")
            await spend(payment, account, 1_000, 500)
        mails = [await mail_about(mail_server, person.email) for person in (english, korean)]
    assert mails[0]["Subject"] == "Your credits are below 12,000.5"
    assert "has 12,000 credits left" in text_of(mails[0])
    assert "http://studio.example.com/billing" in text_of(mails[0])
    assert mails[1]["Subject"] == "크레딧이 12,000.5 아래로 내려갔습니다"
    assert "12,000 크레딧이 남았습니다" in text_of(mails[1])


async def test_month_is_mailed_once_to_who_moved_in_it_and_wants_it(
    users: UserService,
    mail_server: MailServer,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
) -> None:
    place = await database_for("payment")
    addresses = {"user_internal_address": users.internal_address}
    people = [await users.register(locale=locale) for locale in ("en", "ko", "en", "en")]
    english, korean, unwilling, still = (UUID(person.account_id) for person in people)
    async with ledger_in(place) as ledger:
        clock = SettableClock(ledger)
        clock.now = MIDDLE
        await clock.install()
        for account in (english, korean, unwilling):
            await ledger.grant(account, 12_345_000, GrantKind.PLAN)
            (reservation,) = await ledger.reserve(hold_terms(account, 2_000))
            assert reservation.hold
            await ledger.close(account, reservation.hold.hold_id, 1_500)
        async with ledger.requests.transaction(unwilling) as session:
            await notices.choose(session, unwilling, NoticeChoice(mails_statements=False))
        await clock.advance(timedelta(days=16))
        await ledger.grant(still, 1_000)
        for _ in range(2):
            # The second time the month is done already; and what it has come to may be lost as well.
            async with payment_service(place, identities, redis_server.url, **addresses):
                mails = [await mail_about(mail_server, person.email) for person in people[:2]]
                await _until_delivered(ledger)
            await ledger.as_admin("DELETE FROM payment.statement_months WHERE start_time >= '2026-11-01T00:00Z'")
        async with payment_service(place, identities, redis_server.url, **addresses):
            await until(lambda: _month_is_done(ledger), within_seconds=WAIT_SECONDS)
        rows = await ledger.as_admin("SELECT account_id, business_key FROM payment.notices")
    assert {row["account_id"] for row in rows} == {english, korean}
    assert len(rows) == 2
    assert [len(mail_server.to(person.email)) for person in people] == [2, 2, 1, 1]
    assert mails[0]["Subject"] == "Your credits in November 2026"
    parts = ("At the beginning | 0", "Received with the plan | +12,345", "Charged for jobs | -1.5")
    for line in (*parts, "At the end | 12,343.5"):
        assert line in text_of(mails[0])
    assert "2026-11-15 | 12,345 | 1.5 | 0 | 0" in text_of(mails[0])
    assert "<td" in text_of(mails[0], "html")
    assert mails[1]["Subject"] == "2026년 11월 크레딧 명세"
    assert "작업에 사용 | -1.5" in text_of(mails[1])


async def _until_delivered(ledger: Ledger) -> None:
    async def is_delivered() -> bool:
        return not await ledger.as_admin("SELECT 1 FROM payment.notices WHERE next_time IS NOT NULL")

    await until(is_delivered, within_seconds=WAIT_SECONDS)


async def _month_is_done(ledger: Ledger) -> bool:
    found = await ledger.as_admin("SELECT 1 FROM payment.statement_months WHERE start_time >= '2026-11-01' AND is_done")
    return bool(found)


async def test_notice_that_finds_nobody_waits_and_comes_later(
    users: UserService,
    mail_server: MailServer,
    database_for: DatabaseFactory,
    identities: Identities,
    redis_server: RedisServer,
) -> None:
    place, person = await database_for("payment"), await users.register()
    account = UUID(person.account_id)
    async with payment_service(place, identities, redis_server.url) as payment:
        await payment.grant_call(account, 6_000)
        await choose(payment, account, low_balance="5")
        await spend(payment, account, 2_000, 2_000)

        async def has_failed() -> bool:
            rows = await payment.ledger.as_admin("SELECT min(attempts) AS attempts FROM payment.notices")
            return bool(rows[0]["attempts"])

        await until(has_failed, within_seconds=WAIT_SECONDS)
    async with ledger_in(place) as ledger:
        await ledger.as_admin("UPDATE payment.notices SET next_time = now()")
    addresses = {"user_internal_address": users.internal_address}
    async with payment_service(place, identities, redis_server.url, **addresses):
        assert (await mail_about(mail_server, person.email))["Subject"] == "Your credits are below 5"


async def test_mail_to_an_account_that_is_not_there_is_dropped(users: UserService, identities: Identities) -> None:
    request = account_notice_service_pb2.SendAccountMailRequest(
        request_id=str(new_id()),
        account_id=str(new_id()),
        letter={"low_balance": {"balance": "1.000", "threshold": "2.000"}},
    )
    async with channel(users.internal_address, identities.credential("svc_payment")) as user:
        answer = await AccountNoticeServiceStub(user).SendAccountMail(request)
    assert not answer.is_accepted
