"""The delivery of svc_user's outbox to a real mail server: retried with growing delays, and each mail taken once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from pingvas.payment.v1.statement_pb2 import Statement
from pingvas.user.v1.account_notice_service_pb2 import AccountLetter, LowBalanceLetter, StorageOverageLetter

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.objects import S3ObjectStore
from svc_user import domain, tasks
from svc_user.domain import MailKind
from svc_user.mail import LetterWriter, MailDelivery, MailServerError
from svc_user.mail import MailServer as MailServerAddress
from svc_user.store import outbox, queries
from svc_user.store.models import User
from tests.factories.user_service import SettableClock
from tests.harness_mail import MailServer, text_of, token_of
from tests.harness_postgres import DatabaseFactory, ServiceDatabase

STUDIO = "https://studio.example.com"
_LETTERS = {
    MailKind.LOW_BALANCE: AccountLetter(low_balance=LowBalanceLetter(balance="1.000", threshold="2.000")),
    MailKind.STORAGE_OVERAGE: AccountLetter(
        storage_overage=StorageOverageLetter(image_bytes=2 * 1024**3, quota_bytes=1024**3)
    ),
    MailKind.STATEMENT: AccountLetter(
        statement=Statement(
            month="2026-02",
            opening="0.000",
            closing="0.000",
            totals=dict.fromkeys(("promotional", "plan", "purchased", "charged", "lapsed", "revoked"), "0.000"),
        )
    ),
}
CONTENTS = {kind: letter.SerializeToString() for kind, letter in _LETTERS.items()}


def signing_store() -> S3ObjectStore:
    """Returns a store that signs addresses, which asks nobody."""
    url = "http://127.0.0.1:1"
    return S3ObjectStore(
        bucket="pictures",
        region="us-east-1",
        endpoint_url=url,
        signing_endpoint_url=url,
        access_key="test-access",
        secret_key="made-up-secret",
    )


@dataclass(frozen=True, slots=True)
class PostOffice:
    """An outbox of its own, a mail server that is down at first, and deliveries whose every attempt is made by hand."""

    database: ServiceDatabase
    requests: Database
    tasks: Database
    server: MailServer
    clock: SettableClock

    async def user(self, *, locale: str = "en", verified: bool = False) -> str:
        """Adds a user and returns their address."""
        user_id = new_id()
        user = User(
            user_id=user_id,
            account_id=user_id,
            email=f"{user_id}@example.com",
            email_verified=verified,
            display_name="Buy now at evil.example",
            password_hash="none",
            create_time=self.clock(),
            locale=locale,
        )
        async with self.requests.transaction(user_id) as transaction:
            assert await queries.insert_user(transaction, user)
        return user.email

    async def put(self, email: str, kind: MailKind, content: bytes | None = None) -> None:
        """Puts a mail into the outbox."""
        async with self.requests.transaction() as transaction:
            await outbox.insert_mail(transaction, new_id(), email, kind, self.clock(), content=content)

    def delivery(self) -> MailDelivery:
        """Returns a delivery that nobody runs."""
        return MailDelivery(
            tasks_database=self.tasks,
            writer=LetterWriter(STUDIO, "Studio <post@example.com>"),
            server=MailServerAddress.parse(self.server.url),
            objects=signing_store(),
            random_bytes=secrets.token_bytes,
            clock=self.clock,
        )

    async def rows(self, statement: str) -> list[asyncpg.Record]:
        """Returns what a query finds, for the administrator of the database."""
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def waiting(self) -> int:
        """Returns how many mails are in the outbox."""
        return len(await self.rows("SELECT 1 FROM users.mails"))


@pytest.fixture
async def office(database_for: DatabaseFactory) -> AsyncIterator[PostOffice]:
    database = await database_for("user")
    requests, tasks_database = Database(database.requests_url), Database(database.tasks_url)
    server = MailServer()
    yield PostOffice(database, requests, tasks_database, server, SettableClock())
    await server.stop()
    await requests.close()
    await tasks_database.close()


@pytest.mark.parametrize(
    ("kind", "page", "has_token"),
    [
        (MailKind.VERIFY_EMAIL, "verify-email", True),
        (MailKind.EMAIL_IN_USE, "forgot-password", False),
        (MailKind.RESET_PASSWORD, "reset-password", True),
        (MailKind.PASSWORD_CHANGED, "forgot-password", False),
        (MailKind.SESSION_REVOKED, "forgot-password", False),
        (MailKind.CHANGE_EMAIL, "confirm-email", True),
        (MailKind.EMAIL_CHANGED, "undo-email", True),
        (MailKind.ACCOUNT_CLOSED, "account", False),
        (MailKind.LOW_BALANCE, "billing", False),
        (MailKind.STATEMENT, "billing", False),
    ],
)
async def test_every_mail_leads_to_its_page_as_text_and_html_in_both_languages(
    office: PostOffice, kind: MailKind, page: str, *, has_token: bool
) -> None:
    await office.server.start()
    addresses = [await office.user(locale=locale) for locale in domain.LOCALES]
    for address in addresses:
        await office.put(address, kind, CONTENTS.get(kind))

    assert await office.delivery().deliver_due() == 2

    english, korean = [await office.server.mail(address) for address in addresses]
    assert english["Subject"].isascii()
    assert any("가" <= character <= "힣" for character in korean["Subject"])
    for mail in (english, korean):
        link = f"{STUDIO}/{page}" + (f"#token={token_of(mail)}" if has_token else "")
        assert mail["From"] == "Studio <post@example.com>"
        assert f"\n{link}\n" in text_of(mail).replace("\r\n", "\n")
        assert f'href="{link}"' in text_of(mail, "html")
        # What users call themselves must not become our words.
        assert "evil" not in text_of(mail) + text_of(mail, "html")


async def test_mail_is_sent_once_when_server_was_down_for_a_while(office: PostOffice) -> None:
    email = await office.user()
    await office.put(email, MailKind.RESET_PASSWORD)
    delivery = office.delivery()

    while_down = [await delivery.deliver_due(), await delivery.deliver_due()]
    await office.server.start()
    office.clock.advance(seconds=29)
    too_early = await delivery.deliver_due()
    office.clock.advance(seconds=2)
    afterwards = [await delivery.deliver_due(), await delivery.deliver_due()]

    assert (while_down, too_early, afterwards) == ([1, 0], 0, [1, 0])
    assert (len(office.server.to(email)), await office.waiting()) == (1, 0)


async def test_mails_to_one_address_come_in_the_order_in_which_they_were_put_in(office: PostOffice) -> None:
    await office.server.start()
    # A server that is slow with the first of two lets a second connection overtake it.
    office.server.delays.extend([0.2, 0.0])
    email = await office.user()
    await office.put(email, MailKind.VERIFY_EMAIL)
    await office.put(email, MailKind.RESET_PASSWORD)

    assert await office.delivery().deliver_due() == 2

    subjects = [mail["Subject"] for mail in office.server.to(email)]
    assert subjects == ["Confirm your e-mail address", "Choose a new password"]


@pytest.mark.parametrize("answer", ["421 going down", "451 try again later"])
async def test_mail_is_tried_again_with_another_token_when_server_is_busy(office: PostOffice, answer: str) -> None:
    await office.server.start()
    office.server.answers.append(answer)
    email = await office.user()
    await office.put(email, MailKind.RESET_PASSWORD)
    delivery = office.delivery()

    await delivery.deliver_due()
    office.clock.advance(seconds=31)
    await delivery.deliver_due()

    token = token_of(await office.server.mail(email))
    hashes = {row["token_hash"] for row in await office.rows("SELECT token_hash FROM users.link_tokens")}
    assert len(hashes) == 2
    assert domain.hash_link_token(token) in hashes


async def test_mail_is_the_same_to_its_reader_when_word_of_it_was_lost(office: PostOffice) -> None:
    await office.server.start()
    email = await office.user()
    await office.put(email, MailKind.PASSWORD_CHANGED)
    # Takes the mail, and dies before it hears that it was taken.
    async with office.tasks.transaction() as transaction:
        claimed = await outbox.claim_mails(transaction, office.clock(), 8)
    office.clock.advance(seconds=31)

    await office.delivery().deliver_due()

    assert (await office.server.mail(email))["Message-ID"] == f"<{claimed[0].mail_id}@example.com>"


async def test_mail_that_the_server_refuses_for_good_is_dropped(office: PostOffice) -> None:
    await office.server.start()
    office.server.answers.append("550 no such mailbox")
    await office.put(await office.user(), MailKind.EMAIL_IN_USE)

    assert await office.delivery().deliver_due() == 1

    assert (office.server.received, await office.waiting()) == ([], 0)


async def test_mail_is_given_up_after_a_day(office: PostOffice) -> None:
    await office.put(await office.user(), MailKind.RESET_PASSWORD)
    delivery = office.delivery()
    office.clock.advance(hours=23)
    await delivery.deliver_due()
    assert await office.waiting() == 1

    office.clock.advance(hours=1)
    await office.server.start()
    await delivery.deliver_due()

    assert (office.server.received, await office.waiting()) == ([], 0)


async def test_each_mail_is_taken_by_one_of_several_deliveries(office: PostOffice) -> None:
    await office.server.start()
    addresses = [await office.user() for _ in range(20)]
    for address in addresses:
        await office.put(address, MailKind.PASSWORD_CHANGED)

    handled = await asyncio.gather(*(office.delivery().deliver_due() for _ in range(4)))

    assert sum(handled) == 20
    assert sorted(str(mail["To"]) for mail in office.server.received) == sorted(addresses)


async def test_nothing_is_sent_that_nobody_needs(office: PostOffice) -> None:
    await office.server.start()
    await office.put("nobody@example.com", MailKind.RESET_PASSWORD)
    await office.put(await office.user(verified=True), MailKind.VERIFY_EMAIL)

    assert await office.delivery().deliver_due() == 2

    assert (office.server.received, await office.waiting()) == ([], 0)


async def test_outbox_holds_no_token_while_the_server_is_down(office: PostOffice) -> None:
    await office.put(await office.user(), MailKind.RESET_PASSWORD)
    await office.delivery().deliver_due()

    assert "pvlt_" not in str(await office.rows("SELECT * FROM users.mails"))
    assert await office.waiting() == 1


async def test_mail_is_not_sent_in_the_clear_to_a_server_that_must_encrypt(office: PostOffice) -> None:
    await office.server.start()
    address = MailServerAddress.parse(f"smtp+starttls://127.0.0.1:{office.server.port}")
    message = LetterWriter(STUDIO, "Studio <post@example.com>").write(
        MailKind.PASSWORD_CHANGED, mail_id=new_id(), to="ada@example.com", locale="en", token=None, now=office.clock()
    )

    with pytest.raises(MailServerError, match="STARTTLS"):
        await address.send(message)

    assert office.server.received == []


async def test_sweep_deletes_expired_links_and_no_others(office: PostOffice) -> None:
    await office.server.start()
    for kind in (MailKind.RESET_PASSWORD, MailKind.RESET_PASSWORD, MailKind.RESET_PASSWORD, MailKind.VERIFY_EMAIL):
        await office.put(await office.user(), kind)
    await office.delivery().deliver_due()
    office.clock.advance(minutes=31)

    deleted = await tasks.delete_expired_link_tokens(office.tasks, office.clock(), tokens_a_batch=2)

    assert deleted == 3
    assert [row["purpose"] for row in await office.rows("SELECT purpose FROM users.link_tokens")] == ["verify_email"]


@pytest.mark.parametrize("url", ["http://mail.example.com", "smtp://", "mail.example.com:25"])
def test_mail_server_address_is_refused_when_it_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="smtp"):
        MailServerAddress.parse(url)


def test_mail_server_password_stays_out_of_its_description() -> None:
    server = MailServerAddress.parse("smtp+starttls://post:p%40ss@mail.example.com")

    assert (server.port, server.username, server.password) == (587, "post", "p@ss")
    assert "p@ss" not in repr(server)
