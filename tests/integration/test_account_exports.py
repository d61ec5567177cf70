"""Copies of everything of an account: read in pages from real rows, zipped into a real store, mailed, crashed, and over."""

import base64
import io
import json
import secrets
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from pingvas.common.v1.scope_pb2 import SCOPE_READ
from pingvas.user.v1 import account_export_service_pb2 as messages
from pingvas.user.v1.account_export_service_pb2_grpc import AccountExportServiceStub

from svc_common.account_data import AccountPager
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, dependency_unavailable
from svc_common.object_keys import ORIGINAL, image_key
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_user.domain.account_exports import EXPORT_LIFETIME, LEASE, MOST_ATTEMPTS, PAUSE, zip_key
from svc_user.mail import LetterWriter, MailDelivery
from svc_user.mail import MailServer as MailServerAddress
from svc_user.servicer import account_pager
from svc_user.store import account_exports, queries
from svc_user.store.models import AccountExport, ApiKey, AuditEvent, RefreshToken, Session, User
from svc_user.usecases import AccountExporter
from tests.factories.user_service import SettableClock, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, text_of
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server

SECRETS = {name: secrets.token_bytes(32) for name in ("password", "token", "key")}
"""What must stand in no copy: hashes of a password, of a refresh token and of an API key."""
EVENTS = 230


class Gallery:
    """A service that has pictures of one account, in pages of one, and does what a test wants at the n-th of them."""

    def __init__(self, image_ids: list[UUID]) -> None:
        self.image_ids = image_ids
        self.failures: dict[int, BaseException] = {}
        self.asked: list[str] = []

    async def page(self, request: ExportAccountRequest) -> AccountPage:
        number = int(request.page_token or 0)
        self.asked.append(request.account_id)
        if number in self.failures:
            raise self.failures.pop(number)
        page = AccountPage(collection="images")
        page.records.extend(json.dumps({"image_id": str(each)}) for each in self.image_ids[number : number + 1])
        page.next_page_token = str(number + 1) if number + 1 < len(self.image_ids) else ""
        return page


@dataclass
class Desk:
    """The parts that make copies, each step by hand."""

    database: ServiceDatabase
    requests: Database
    tasks: Database
    objects: S3ObjectStore
    mail: MailServer
    clock: SettableClock = field(default_factory=SettableClock)

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def account(self, *, locale: str = "en", is_confirmed: bool = True, events: int = 0) -> UUID:
        """Adds somebody with a session, a key and events, whose secrets are those of SECRETS."""
        account_id, now = new_id(), self.clock()
        hashed = base64.b64encode(SECRETS["password"]).decode()
        common = {"account_id": account_id, "user_id": account_id, "create_time": now}
        async with self.requests.transaction(account_id) as session:
            email = f"{account_id}@example.com"
            user = User(email=email, email_verified=is_confirmed, display_name=f"name-{account_id}", locale=locale)
            for name, value in {**common, "password_hash": hashed}.items():
                setattr(user, name, value)
            assert await queries.insert_user(session, user)
            session_id = new_id()
            login = Session(session_id=session_id, generation=1, rotate_time=now, expire_time=now, **common)
            await queries.insert_session(session, login)
            token = RefreshToken(
                token_hash=_salted("token", account_id),
                account_id=account_id,
                session_id=session_id,
                generation=1,
                create_time=now,
            )
            await queries.insert_refresh_token(session, token)
            session.add(
                ApiKey(
                    api_key_id=account_id.hex[:16],
                    request_id=f"request-{account_id}",
                    name="my script",
                    scopes=[SCOPE_READ],
                    key_hash=_salted("key", account_id),
                    model_ids=[],
                    **common,
                )
            )
            for _ in range(events):
                session.add(_event(account_id, now))
            await session.flush()
        return account_id

    async def ask(self, account_id: UUID) -> AccountExport:
        """Asks for a copy as ExportMe does."""
        export = AccountExport(
            export_id=new_id(),
            account_id=account_id,
            user_id=account_id,
            state="pending",
            attempt=0,
            image_count=0,
            left_out_count=0,
            size_bytes=0,
            create_time=self.clock(),
        )
        async with self.requests.transaction(account_id) as session:
            await account_exports.insert_export(session, export)
        return export

    def pager(self) -> AccountPager:
        return account_pager(self.requests, PageTokens(b"k" * 32))

    def exporter(self, gallery: Gallery | None = None, **changed: Any) -> AccountExporter:
        return AccountExporter(
            tasks_database=self.tasks,
            objects=self.objects,
            sources={"account": self.pager().page, "gallery": (gallery or Gallery([])).page},
            announce_mail=lambda: None,
            clock=self.clock,
            **changed,
        )

    def delivery(self) -> MailDelivery:
        return MailDelivery(
            tasks_database=self.tasks,
            writer=LetterWriter("https://studio.example.com", "Studio <post@example.com>"),
            server=MailServerAddress.parse(self.mail.url),
            objects=self.objects,
            random_bytes=secrets.token_bytes,
            clock=self.clock,
        )

    async def state(self, export: AccountExport) -> asyncpg.Record:
        return (await self.rows("SELECT * FROM users.account_exports WHERE export_id = $1", export.export_id))[0]

    async def stored(self, account_id: UUID) -> list[str]:
        return [found.key async for found in self.objects.list_prefix(f"users/{account_id}/account-exports")]

    async def files(self, export: AccountExport, attempt: int = 1) -> Mapping[str, bytes]:
        content = await self.objects.read(zip_key(export.account_id, export.export_id, attempt))
        assert content is not None
        return unpacked(content)


def _salted(name: str, account_id: UUID) -> bytes:
    return bytes(a ^ b for a, b in zip(SECRETS[name], account_id.bytes * 2, strict=True))


def _event(account_id: UUID, now: Any) -> AuditEvent:
    return AuditEvent(
        event_id=new_id(),
        account_id=account_id,
        actor=f"user:{account_id}",
        kind="signed_in",
        create_time=now,
        network="192.0.2.1",
        user_agent="",
        before={},
        after={},
    )


def unpacked(content: bytes) -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        return {info.filename: found.read(info) for info in found.infolist()}


@pytest.fixture
async def desk(database_for: DatabaseFactory, s3_server: S3Server) -> AsyncIterator[Desk]:
    database = await database_for("user")
    requests, tasks = Database(database.requests_url), Database(database.tasks_url)
    objects = s3_server.store()
    mail = MailServer()
    yield Desk(database, requests, tasks, objects, mail)
    await mail.stop()
    await requests.close()
    await tasks.close()


async def test_copy_holds_what_the_account_has_and_nothing_of_anybody_else(desk: Desk) -> None:
    other = await desk.account(events=3)
    account_id = await desk.account(events=EVENTS)
    export = await desk.ask(account_id)

    assert await desk.exporter().make_next()

    files = await desk.files(export)
    assert "Your data" in files["README.txt"].decode()
    assert "내 데이터" in files["README.txt"].decode()
    found = {name: json.loads(content) for name, content in files.items() if name.endswith(".json")}
    assert found["account/users.json"][0]["email"] == f"{account_id}@example.com"
    assert [key["name"] for key in found["account/api_keys.json"]] == ["my script"]
    assert len(found["account/sessions.json"]) == 1
    ids = [event["event_id"] for event in found["account/audit_events.json"]]
    assert len(set(ids)) == len(ids) == EVENTS
    assert found["account/identities.json"] == []
    everything = b"".join(files.values())
    assert str(account_id).encode() in everything
    assert str(other).encode() not in everything
    assert (await desk.state(export))["state"] == "ready"
    assert not await desk.exporter().make_next()


async def test_no_secret_stands_in_any_byte_of_a_copy(desk: Desk) -> None:
    account_id = await desk.account(events=2)
    export = await desk.ask(account_id)
    await desk.exporter().make_next()
    content = await desk.objects.read(zip_key(account_id, export.export_id, 1))
    assert content is not None
    everything = content + b"".join(unpacked(content).values())
    kept = [SECRETS["password"], _salted("token", account_id), _salted("key", account_id)]
    assert await desk.rows("SELECT 1 FROM users.api_keys WHERE key_hash = $1", kept[2]), "the search would find nothing"
    for secret in kept:
        for form in (secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
            assert form.rstrip(b"=") not in everything
    assert b"password_hash" not in everything
    assert b"key_hash" not in everything


async def test_pictures_lie_beside_what_is_known_of_them_and_those_without_room_are_counted(desk: Desk) -> None:
    account_id = await desk.account()
    kept, large, gone = new_id(), new_id(), new_id()
    await desk.objects.write(image_key(account_id, kept, ORIGINAL), b"p" * 1000, "image/png")
    await desk.objects.write(image_key(account_id, large, ORIGINAL), b"q" * 3000, "image/png")
    export = await desk.ask(account_id)

    await desk.exporter(Gallery([kept, large, gone]), most_picture_bytes=2000).make_next()

    files = await desk.files(export)
    assert {name for name in files if name.endswith(".png")} == {f"pictures/{kept}.png"}
    assert files[f"pictures/{kept}.png"] == b"p" * 1000
    for image_id in (kept, large, gone):
        assert json.loads(files[f"pictures/{image_id}.json"]) == {"image_id": str(image_id)}
    row = await desk.state(export)
    assert (row["image_count"], row["left_out_count"]) == (1, 2)


async def test_crash_in_the_middle_is_repeated_and_leaves_no_object(desk: Desk) -> None:
    account_id = await desk.account()
    export = await desk.ask(account_id)
    pictures = [new_id(), new_id()]
    gallery = Gallery(pictures)
    gallery.failures[1] = RuntimeError("the process dies")
    with pytest.raises(RuntimeError, match="dies"):
        await desk.exporter(gallery).make_next()
    # Another one died when its zip was there, and nothing was said of it.
    await desk.objects.write(zip_key(account_id, export.export_id, 1), b"half", "application/zip")
    assert not await desk.exporter(gallery).make_next(), "the lease of the dead one holds"

    desk.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert await desk.exporter(gallery).make_next()

    assert await desk.stored(account_id) == [zip_key(account_id, export.export_id, 2)]
    assert {f"pictures/{each}.json" for each in pictures} <= set(await desk.files(export, 2))
    assert (await desk.state(export))["state"] == "ready"


async def test_copy_waits_for_a_service_that_is_away(desk: Desk) -> None:
    account_id = await desk.account()
    export = await desk.ask(account_id)
    gallery = Gallery([new_id()])
    gallery.failures[0] = dependency_unavailable("svc_gallery", "It is away.")
    assert await desk.exporter(gallery).make_next()
    assert (await desk.state(export))["state"] == "pending"
    assert await desk.stored(account_id) == []
    assert not await desk.exporter(gallery).make_next()

    desk.clock.advance(seconds=PAUSE.total_seconds() + 1)

    assert await desk.exporter(gallery).make_next()
    assert (await desk.state(export))["state"] == "ready"


async def test_copy_that_never_gets_done_fails_and_another_one_may_be_asked_for(desk: Desk) -> None:
    account_id = await desk.account()
    export = await desk.ask(account_id)
    for _ in range(MOST_ATTEMPTS):
        gallery = Gallery([new_id()])
        gallery.failures[0] = dependency_unavailable("svc_gallery", "It is away.")
        assert await desk.exporter(gallery).make_next()
        desk.clock.advance(seconds=PAUSE.total_seconds() + 1)
    assert not await desk.exporter().make_next()
    assert await desk.exporter().delete_expired() == 1
    assert (await desk.state(export))["state"] == "failed"
    await desk.ask(account_id)
    assert await desk.exporter().make_next()


@pytest.mark.parametrize(("locale", "word"), [("en", "copy of your data"), ("ko", "내 데이터 사본")])
async def test_mail_arrives_and_its_address_opens_until_the_copy_is_over(desk: Desk, locale: str, word: str) -> None:
    await desk.mail.start()
    account_id = await desk.account(locale=locale)
    export = await desk.ask(account_id)
    await desk.exporter().make_next()
    assert await desk.delivery().deliver_due() == 1

    (mail,) = desk.mail.to(f"{account_id}@example.com")
    assert word in str(mail["Subject"])
    address = next(line for line in text_of(mail).splitlines() if line.startswith("http"))
    assert address.replace("&", "&amp;") in text_of(mail, "html")
    async with httpx.AsyncClient() as client:
        answer = (await client.get(address)).raise_for_status()
    assert "pingvas-account-" in answer.headers["content-disposition"]
    assert f"{account_id}@example.com".encode() in unpacked(answer.content)["account/users.json"]

    assert await desk.exporter().delete_expired() == 0
    desk.clock.advance(seconds=EXPORT_LIFETIME.total_seconds())
    assert await desk.exporter().delete_expired() == 1
    assert await desk.stored(account_id) == []
    assert (await desk.state(export))["state"] == "expired"
    async with httpx.AsyncClient() as client:
        assert (await client.get(address)).status_code in {403, 404}


async def test_address_goes_to_no_mailbox_that_nobody_confirmed(desk: Desk) -> None:
    export = await desk.ask(await desk.account(is_confirmed=False))
    await desk.exporter().make_next()
    assert (await desk.state(export))["state"] == "ready"
    assert await desk.rows("SELECT 1 FROM users.mails") == []


async def test_new_copy_takes_the_place_of_the_old_one(desk: Desk) -> None:
    account_id = await desk.account()
    await desk.ask(account_id)
    await desk.exporter().make_next()
    desk.clock.advance(hours=25)
    newer = await desk.ask(account_id)
    await desk.exporter().make_next()
    assert await desk.exporter().delete_expired() == 1
    assert await desk.stored(account_id) == [zip_key(account_id, newer.export_id, 1)]


async def test_erasure_waits_for_an_attempt_that_may_be_writing(desk: Desk) -> None:
    account_id = await desk.account()
    export = await desk.ask(account_id)
    gallery = Gallery([new_id(), new_id()])
    stopped = []

    class Erasing(Gallery):
        async def page(self, request: ExportAccountRequest) -> AccountPage:
            async with desk.tasks.transaction() as session:
                stopped.append(await account_exports.stop_exports(session, account_id, desk.clock()))
            return await gallery.page(request)

    assert await desk.exporter(Erasing([])).make_next()

    assert stopped[0], "the attempt was alive"
    assert await desk.stored(account_id) == []
    assert (await desk.state(export))["state"] == "failed"
    desk.clock.advance(seconds=LEASE.total_seconds() + 1)
    async with desk.tasks.transaction() as session:
        assert not await account_exports.stop_exports(session, account_id, desk.clock())


@pytest.fixture
async def service(database_for: DatabaseFactory, tmp_path: Path) -> AsyncIterator[UserService]:
    """A running svc_user whose neighbours are away, so that copies wait."""
    async with running_user_service(await database_for("user"), tmp_path) as running:
        yield running


async def test_repeated_call_returns_the_copy_that_is_being_made_and_each_sees_their_own(service: UserService) -> None:
    stub = AccountExportServiceStub(service.public)
    mine, theirs = [bearer((await service.session()).access_token) for _ in range(2)]
    none = await stub.GetMyExport(messages.GetMyExportRequest(), metadata=mine)
    assert none.state == messages.ACCOUNT_EXPORT_STATE_NONE

    first = await stub.ExportMe(messages.ExportMeRequest(), metadata=mine)
    again = await stub.ExportMe(messages.ExportMeRequest(), metadata=mine)

    assert first.state == messages.ACCOUNT_EXPORT_STATE_PENDING
    assert again.export_id == first.export_id
    assert (await stub.GetMyExport(messages.GetMyExportRequest(), metadata=mine)).export_id == first.export_id
    other = await stub.GetMyExport(messages.GetMyExportRequest(), metadata=theirs)
    assert other.state == messages.ACCOUNT_EXPORT_STATE_NONE


async def test_session_that_began_long_ago_gets_no_copy(service: UserService) -> None:
    stub = AccountExportServiceStub(service.public)
    session = await service.session()
    service.clock.advance(minutes=11)
    newer = bearer((await service.refresh(session.refresh_token)).access_token)
    refused = await refusal(stub.ExportMe(messages.ExportMeRequest(), metadata=newer))
    assert refused.reason is Reason.FRESH_SIGN_IN_REQUIRED
