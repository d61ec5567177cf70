"""Roles and suspension: who may administer, what it does to others' tokens, and that an administrator always remains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from uuid import UUID

import asyncpg
import grpc
import pytest
from pingvas.common.v1 import role_pb2, tier_pb2
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.payment_admin_service_pb2_grpc import PaymentAdminServiceStub
from pingvas.user.v1 import account_admin_service_pb2 as admin_pb2
from pingvas.user.v1 import (
    api_key_service_pb2,
    auth_service_pb2,
    user_directory_service_pb2,
    user_pb2,
    user_service_pb2,
)
from pingvas.user.v1.account_admin_service_pb2_grpc import AccountAdminServiceStub
from pingvas.user.v1.audit_event_pb2 import AuditEvent, AuditEventKind
from pingvas.user.v1.audit_service_pb2 import ListAuditEventsRequest
from pingvas.user.v1.audit_service_pb2_grpc import AuditServiceStub
from pingvas.user.v1.deletion_service_pb2 import CancelDeletionRequest, DeleteMeRequest
from pingvas.user.v1.deletion_service_pb2_grpc import DeletionServiceStub

from svc_common.errors import Code, Reason
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer, free_port
from tests.harness_service import Identities, RunningService, running, settings_values

ADMINISTRATOR, SUPPORT, USER = role_pb2.ROLE_ADMINISTRATOR, role_pb2.ROLE_SUPPORT, role_pb2.ROLE_USER
FIRST = "root@example.com"
CREDITS_GRANTED, TIER_SET = AuditEventKind.AUDIT_EVENT_KIND_CREDITS_GRANTED, AuditEventKind.AUDIT_EVENT_KIND_TIER_SET
ACCOUNT_CLOSED = AuditEventKind.AUDIT_EVENT_KIND_ACCOUNT_CLOSED
ACCOUNT_REOPENED = AuditEventKind.AUDIT_EVENT_KIND_ACCOUNT_REOPENED


@asynccontextmanager
async def running_service(
    database_for: DatabaseFactory,
    identities: Identities,
    redis: RedisServer,
    payment: RunningService | None = None,
    **own: object,
) -> AsyncIterator[UserService]:
    """Runs an empty svc_user with the keys of `identities`, so that svc_payment believes its tokens."""
    settings = {
        **own,
        "redis_url": redis.url,
        "service_key_file": identities.key_file("svc_user"),
        "service_jwks_file": identities.folder / "services.jwks",
        **({"payment_internal_address": payment.internal_address} if payment else {}),
    }
    async with running_user_service(await database_for("user"), identities.folder, **settings) as service:
        yield service


@pytest.fixture(scope="module")
async def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def user_internal_address() -> str:
    """Where svc_user will serve svc_payment, which starts before it."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
async def payment(
    database_for: DatabaseFactory, identities: Identities, shared_redis: RedisServer, user_internal_address: str
) -> AsyncIterator[RunningService]:
    values = settings_values(
        identities,
        "svc_payment",
        await database_for("payment"),
        redis_url=shared_redis.url,
        user_internal_address=user_internal_address,
    )
    async with running(compose_payment(PaymentSettings(**values))) as service:
        yield service


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory,
    identities: Identities,
    payment: RunningService,
    shared_redis: RedisServer,
    user_internal_address: str,
) -> AsyncIterator[UserService]:
    """A svc_user with an administrator, for all tests that don't mind others."""
    own = {"internal_address": user_internal_address}
    async with running_service(database_for, identities, shared_redis, payment, **own) as service:
        await make_first_administrator(service)
        yield service


@pytest.fixture
async def root(service: UserService) -> str:
    """An access token of its administrator."""
    return (await service.login(FIRST)).access_token


@pytest.fixture
async def lone(
    database_for: DatabaseFactory, identities: Identities, shared_redis: RedisServer
) -> AsyncIterator[UserService]:
    """A svc_user without anybody."""
    async with running_service(database_for, identities, shared_redis) as service:
        yield service


async def make_first_administrator(service: UserService) -> None:
    """Makes the first administrator as the local stack does."""
    request = user_directory_service_pb2.EnsureAdministratorRequest(email=FIRST, password=PASSWORD)
    async with service.directory("operator") as directory:
        assert (await directory.EnsureAdministrator(request)).is_new


async def lone_administrator(service: UserService) -> str:
    await make_first_administrator(service)
    return (await service.login(FIRST)).access_token


def accounts(service: UserService) -> AccountAdminServiceStub:
    return AccountAdminServiceStub(service.public)


async def set_role(service: UserService, token: str, user_id: str, role: role_pb2.Role) -> admin_pb2.ManagedUser:
    request = admin_pb2.SetAccountRoleRequest(user_id=user_id, role=role)
    return await accounts(service).SetAccountRole(request, metadata=bearer(token))


async def suspend(service: UserService, token: str, user_id: str, reason: str = "spam") -> admin_pb2.ManagedUser:
    request = admin_pb2.SuspendAccountRequest(user_id=user_id, reason=reason)
    return await accounts(service).SuspendAccount(request, metadata=bearer(token))


async def reinstate(service: UserService, token: str, user_id: str) -> admin_pb2.ManagedUser:
    request = admin_pb2.ReinstateAccountRequest(user_id=user_id)
    return await accounts(service).ReinstateAccount(request, metadata=bearer(token))


async def search(service: UserService, token: str, **fields: object) -> admin_pb2.SearchUsersResponse:
    return await accounts(service).SearchUsers(admin_pb2.SearchUsersRequest(**fields), metadata=bearer(token))


async def me(service: UserService, token: str) -> user_pb2.User:
    return await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(token))


async def test_first_administrator_is_made_once(lone: UserService) -> None:
    token = await lone_administrator(lone)

    assert (await me(lone, token)).role == ADMINISTRATOR
    second = user_directory_service_pb2.EnsureAdministratorRequest(email="other@example.com", password=PASSWORD)
    async with lone.directory("operator") as directory:
        assert not (await directory.EnsureAdministrator(second)).is_new
    assert (await refusal(lone.login("other@example.com"))).reason is Reason.LOGIN_FAILED


async def test_racing_calls_make_one_administrator(lone: UserService) -> None:
    emails = [f"racer{number}@example.com" for number in range(6)]
    async with lone.directory("operator") as directory:
        made = await asyncio.gather(
            *(
                directory.EnsureAdministrator(
                    user_directory_service_pb2.EnsureAdministratorRequest(email=email, password=PASSWORD)
                )
                for email in emails
            )
        )

    assert sum(answer.is_new for answer in made) == 1


async def test_user_is_refused_and_support_may_only_look(service: UserService, root: str) -> None:
    helper = await service.register()
    stranger = (await service.session()).access_token

    refused = await refusal(search(service, stranger))
    assert (refused.reason, refused.code) == (Reason.ROLE_MISSING, Code.PERMISSION_DENIED)
    assert refused.metadata["role"] == "support"

    assert (await set_role(service, root, helper.user_id, SUPPORT)).user.role == SUPPORT
    token = (await service.login(helper.email)).access_token
    assert [found.user.email for found in (await search(service, token, query=FIRST)).users] == [FIRST]
    refused = await refusal(set_role(service, token, helper.user_id, ADMINISTRATOR))
    assert (refused.reason, refused.metadata["role"]) == (Reason.ROLE_MISSING, "administrator")


async def test_new_role_ends_the_tokens_that_name_the_old_one(service: UserService, root: str) -> None:
    helper = await service.register()
    before = await service.login(helper.email)

    await set_role(service, root, helper.user_id, ADMINISTRATOR)

    # Its client gets a new one by itself.
    assert (await refusal(me(service, before.access_token))).reason is Reason.TOKEN_EXPIRED
    after = await service.refresh(before.refresh_token)
    assert (await set_role(service, after.access_token, helper.user_id, ADMINISTRATOR)).user.role == ADMINISTRATOR


async def test_last_administrator_stays(lone: UserService) -> None:
    root = await lone_administrator(lone)
    root_id = (await me(lone, root)).user_id

    for attempt in (set_role(lone, root, root_id, USER), suspend(lone, root, root_id)):
        assert (await refusal(attempt)).reason is Reason.LAST_ADMINISTRATOR
    assert (await me(lone, root)).role == ADMINISTRATOR


async def test_two_administrators_who_demote_each_other_leave_one(lone: UserService) -> None:
    root = await lone_administrator(lone)
    root_id = (await me(lone, root)).user_id
    other = await lone.register()
    await set_role(lone, root, other.user_id, ADMINISTRATOR)
    token = (await lone.login(other.email)).access_token

    await asyncio.gather(
        set_role(lone, root, other.user_id, USER), set_role(lone, token, root_id, USER), return_exceptions=True
    )

    connection = await asyncpg.connect(lone.database.admin_url)
    roles = await connection.fetch("SELECT role FROM users.users ORDER BY role")
    await connection.close()
    assert [row["role"] for row in roles] == ["administrator", "user"]


async def test_suspended_account_can_do_nothing_until_it_is_reinstated(service: UserService, root: str) -> None:
    user = await service.register()
    pair = await service.login(user.email)

    suspended = await suspend(service, root, user.user_id, "sends spam")

    assert (suspended.suspend_reason, suspended.HasField("suspend_time")) == ("sends spam", True)
    for attempt in (me(service, pair.access_token), service.refresh(pair.refresh_token), service.login(user.email)):
        refused = await refusal(attempt)
        assert (refused.reason, refused.code) == (Reason.ACCOUNT_SUSPENDED, Code.PERMISSION_DENIED)
    # Who doesn't know the password learns nothing.
    assert (await refusal(service.login(user.email, "a wrong password"))).reason is Reason.LOGIN_FAILED

    assert not (await reinstate(service, root, user.user_id)).HasField("suspend_time")
    assert (await refusal(me(service, pair.access_token))).reason is Reason.TOKEN_EXPIRED
    assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    assert (await me(service, (await service.login(user.email)).access_token)).user_id == user.user_id


async def test_suspension_reaches_the_tokens_at_other_services(
    service: UserService, root: str, payment: RunningService
) -> None:
    other = await service.register()
    await set_role(service, root, other.user_id, ADMINISTRATOR)
    token = (await service.login(other.email)).access_token
    audit = PaymentAdminServiceStub(payment.public).AuditLedger
    request = ledger_service_pb2.AuditLedgerRequest(account_id=other.account_id)
    await audit(request, metadata=bearer(token))

    await suspend(service, root, other.user_id)

    async def is_refused() -> bool:
        try:
            await audit(request, metadata=bearer(token))
        except grpc.aio.AioRpcError:
            return True
        return False

    await until(is_refused, within_seconds=30.0)
    assert (await refusal(audit(request, metadata=bearer(token)))).reason is Reason.ACCOUNT_SUSPENDED


async def test_api_key_of_a_suspended_account_is_refused(service: UserService, root: str) -> None:
    root_id = (await me(service, root)).user_id
    other = await service.register()
    await set_role(service, root, other.user_id, ADMINISTRATOR)
    # Whose address counts as confirmed.
    request = api_key_service_pb2.CreateApiKeyRequest(name="build", scopes=[1])
    key = (await service.api_keys.CreateApiKey(request, metadata=bearer(root))).key
    exchange = api_key_service_pb2.ExchangeApiKeyRequest(key=key)
    token = (await service.api_keys.ExchangeApiKey(exchange)).access_token
    # A key of an administrator is no administrator.
    assert (await refusal(search(service, token))).reason is Reason.SCOPE_MISSING

    other_token = (await service.login(other.email)).access_token
    await suspend(service, other_token, root_id)

    assert (await refusal(service.api_keys.ExchangeApiKey(exchange))).reason is Reason.ACCOUNT_SUSPENDED
    assert (await refusal(me(service, token))).reason is Reason.ACCOUNT_SUSPENDED
    await reinstate(service, other_token, root_id)


async def test_search_finds_by_prefix_of_address_or_name_by_id_role_and_tier(
    service: UserService, root: str, payment: RunningService
) -> None:
    grace = await service.register(email="grace_hopper@example.com", display_name="Amazing Grace")
    await service.register(email="gracexhopper@example.com", display_name="Somebody")
    request = ledger_service_pb2.SetTierRequest(account_id=grace.account_id, tier=tier_pb2.TIER_PRO)
    await PaymentAdminServiceStub(payment.public).SetTier(request, metadata=bearer(root))

    async def found(**fields: object) -> list[str]:
        return [each.user.email for each in (await search(service, root, **fields)).users]

    both = ["gracexhopper@example.com", "grace_hopper@example.com"]
    assert await found(query="GRACE") == both
    # No wildcard of SQL's.
    assert await found(query="grace_") == both[1:]
    assert await found(query="amazing g") == both[1:]
    assert await found(query=grace.user_id) == both[1:]
    assert await found(query="hopper") == []
    assert await found(role=ADMINISTRATOR, query=FIRST) == [FIRST]
    assert await found(role=ADMINISTRATOR, query="grace") == []
    assert await found(tier=tier_pb2.TIER_PRO) == both[1:]
    assert [each.tier for each in (await search(service, root, query="grace")).users] == [
        tier_pb2.TIER_FREE,
        tier_pb2.TIER_PRO,
    ]


async def test_search_pages_by_key_and_each_user_comes_once(service: UserService, root: str) -> None:
    emails = [(await service.register(email=f"paged{number}@example.com")).email for number in range(5)]
    token, seen = "", []
    while True:
        page = await search(service, root, query="paged", page_size=2, page_token=token)
        seen += [each.user.email for each in page.users]
        # Somebody who registers meanwhile belongs before the first page.
        await service.register(email=f"paged-later{len(seen)}@example.com")
        token = page.next_page_token
        if not token:
            break

    assert seen == emails[::-1]
    other = await refusal(search(service, root, query="other", page_token=page.next_page_token or "x"))
    assert other.reason is Reason.PAGE_TOKEN_INVALID


async def test_search_by_tier_pages_through_those_of_other_tiers(
    service: UserService, root: str, payment: RunningService
) -> None:
    first = await service.register()
    for _ in range(4):
        await service.register()
    request = ledger_service_pb2.SetTierRequest(account_id=first.account_id, tier=tier_pb2.TIER_STUDIO)
    await PaymentAdminServiceStub(payment.public).SetTier(request, metadata=bearer(root))

    token, seen = "", []
    while True:
        page = await search(service, root, tier=tier_pb2.TIER_STUDIO, page_size=1, page_token=token)
        seen += [each.user.email for each in page.users]
        token = page.next_page_token
        if not token:
            break

    assert seen == [first.email]


async def test_unknown_user_is_told(service: UserService, root: str) -> None:
    unknown = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"

    for attempt in (
        set_role(service, root, unknown, USER),
        suspend(service, root, unknown),
        reinstate(service, root, unknown),
    ):
        assert (await refusal(attempt)).reason is Reason.USER_NOT_FOUND


async def test_administrator_grants_credits_once_for_a_request(
    service: UserService, root: str, payment: RunningService
) -> None:
    user = await service.register()
    request = ledger_service_pb2.GrantCreditsRequest(
        request_id="gift",
        account_id=user.account_id,
        kind=credit_service_pb2.GRANT_KIND_PROMOTIONAL,
        amount_millicredits=5000,
    )
    grant = PaymentAdminServiceStub(payment.public).GrantCredits

    first, second = [await grant(request, metadata=bearer(root)) for _ in range(2)]

    assert (first.grant_id, first.amount) == (second.grant_id, "5.000")
    token = (await service.login(user.email)).access_token
    assert (await refusal(grant(request, metadata=bearer(token)))).reason is Reason.ROLE_MISSING


async def audited(service: UserService, token: str) -> list[AuditEvent]:
    """Returns what the owner of a token finds in the audit log, the oldest first."""
    listed = await AuditServiceStub(service.public).ListAuditEvents(ListAuditEventsRequest(), metadata=bearer(token))
    return list(reversed(listed.events))


async def test_grants_and_tiers_are_in_the_audit_log_with_who_gave_them(
    service: UserService, root: str, payment: RunningService
) -> None:
    user = await service.register()
    by_root, grants = bearer(root), PaymentAdminServiceStub(payment.public)
    root_id = (await me(service, root)).user_id
    await grants.GrantCredits(gift_to(user.account_id), metadata=(*by_root, ("user-agent", "a test")))
    await grants.SetTier(
        ledger_service_pb2.SetTierRequest(account_id=user.account_id, tier=tier_pb2.TIER_PRO), metadata=by_root
    )

    told = await audited(service, (await service.login(user.email)).access_token)

    given = [event for event in told if event.kind in (CREDITS_GRANTED, TIER_SET)]
    assert [(event.kind, event.actor, dict(event.after)) for event in given] == [
        (
            CREDITS_GRANTED,
            f"user:{root_id}",
            {"credits": "5.000", "kind": "promotional", "request_id": "gift-of-the-log"},
        ),
        (TIER_SET, f"user:{root_id}", {"tier": "pro"}),
    ]
    assert {event.network for event in given} == {"127.0.0.1"}


async def test_nothing_is_given_that_the_audit_log_is_not_told_of(
    service: UserService, root: str, database_for: DatabaseFactory, identities: Identities, shared_redis: RedisServer
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    database = await database_for("payment")
    values = settings_values(
        identities, "svc_payment", database, redis_url=shared_redis.url, user_internal_address=nowhere
    )
    user = await service.register()
    token = (await service.login(user.email)).access_token
    async with running(compose_payment(PaymentSettings(**values))) as alone:
        grants = PaymentAdminServiceStub(alone.public)
        refused = await refusal(grants.GrantCredits(gift_to(user.account_id), metadata=bearer(root)))
        balance = await CreditServiceStub(alone.public).GetBalance(
            credit_service_pb2.GetBalanceRequest(), metadata=bearer(token)
        )

    assert refused.code is Code.UNAVAILABLE
    assert balance.available == "0.000"


async def test_closing_and_opening_an_account_is_in_the_audit_log(service: UserService) -> None:
    user = await service.register()
    deletions = DeletionServiceStub(service.public)
    closed = await deletions.DeleteMe(
        DeleteMeRequest(), metadata=bearer((await service.login(user.email)).access_token)
    )
    for _ in range(2):
        await deletions.CancelDeletion(
            CancelDeletionRequest(), metadata=bearer((await service.login(user.email)).access_token)
        )

    told = await audited(service, (await service.login(user.email)).access_token)

    moment = closed.erase_time.ToDatetime(UTC).isoformat()
    changes = [event for event in told if event.kind in (ACCOUNT_CLOSED, ACCOUNT_REOPENED)]
    assert [(event.kind, dict(event.before), dict(event.after)) for event in changes] == [
        (ACCOUNT_CLOSED, {}, {"erase_time": moment}),
        (ACCOUNT_REOPENED, {"erase_time": moment}, {}),
    ]
    assert {event.actor for event in changes} == {f"user:{user.user_id}"}


def gift_to(account_id: str) -> ledger_service_pb2.GrantCreditsRequest:
    return ledger_service_pb2.GrantCreditsRequest(
        request_id="gift-of-the-log",
        account_id=account_id,
        kind=credit_service_pb2.GRANT_KIND_PROMOTIONAL,
        amount_millicredits=5000,
    )


async def test_registered_user_has_the_role_of_everybody(service: UserService) -> None:
    request = auth_service_pb2.RegisterRequest(email="plain@example.com", password=PASSWORD)
    user = await service.auth.Register(request)

    assert user.role == USER
    assert UUID(user.user_id)
