"""Composes svc_user from its settings and serves it: `python -m svc_user.main`."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from envoyproxy.rls_pb2_grpc import add_RateLimitServiceServicer_to_server
from pingvas.gallery.v1.gallery_data_service_pb2_grpc import GalleryDataServiceStub
from pingvas.gallery.v1.gallery_erasure_service_pb2_grpc import GalleryErasureServiceStub
from pingvas.generation.v1.job_data_service_pb2_grpc import JobDataServiceStub
from pingvas.generation.v1.job_erasure_service_pb2_grpc import JobErasureServiceStub
from pingvas.models.v1.lora_data_service_pb2_grpc import LoraDataServiceStub
from pingvas.models.v1.lora_erasure_service_pb2_grpc import LoraErasureServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.payment.v1.payment_data_service_pb2_grpc import PaymentDataServiceStub
from pingvas.user.v1 import auth_service_pb2_grpc
from pingvas.user.v1.account_admin_service_pb2_grpc import add_AccountAdminServiceServicer_to_server
from pingvas.user.v1.account_export_service_pb2_grpc import add_AccountExportServiceServicer_to_server
from pingvas.user.v1.account_notice_service_pb2_grpc import add_AccountNoticeServiceServicer_to_server
from pingvas.user.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from pingvas.user.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from pingvas.user.v1.deletion_service_pb2_grpc import add_DeletionServiceServicer_to_server
from pingvas.user.v1.email_service_pb2_grpc import add_EmailServiceServicer_to_server
from pingvas.user.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from pingvas.user.v1.second_factor_service_pb2_grpc import add_SecondFactorServiceServicer_to_server
from pingvas.user.v1.user_directory_service_pb2_grpc import add_UserDirectoryServiceServicer_to_server
from pingvas.user.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from svc_common import clock, settings
from svc_common.capacity import service_capacity
from svc_common.client_address import ClientAddresses
from svc_common.clients import channel
from svc_common.concurrency import until_set
from svc_common.connection_budget import service_databases
from svc_common.credits import MILLICREDITS_PER_CREDIT
from svc_common.entitlements import from_ledger
from svc_common.free_space import Store
from svc_common.key_sets import KeySet
from svc_common.limits.accounts import AccountLimits
from svc_common.limits.attempts import SharedAttempts
from svc_common.limits.buckets import SharedBuckets
from svc_common.limits.redis_guard import RedisGuard
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.redis_client import connect
from svc_common.revocations import Revocations
from svc_common.server import Server, run
from svc_common.sweeps import run_sweeps
from svc_common.tickets import Tickets
from svc_common.tokens import AccessTokenIssuer, ServiceCredential, SigningKey
from svc_common.watched_file import WatchedFile
from svc_user import tasks
from svc_user.domain import ACCESS_TOKEN_LIFETIME
from svc_user.domain.federation import Provider
from svc_user.mail import LetterWriter, MailDelivery, MailServer
from svc_user.providers import Discord, Google, OAuthProvider
from svc_user.servicer import (
    AccountAdminServicer,
    AccountExportServicer,
    AccountNoticeServicer,
    ApiKeyServicer,
    AuditServicer,
    AuthServicer,
    DeletionServicer,
    EdgeLimitServicer,
    EmailServicer,
    IdentityServicer,
    KeySource,
    OwnerProof,
    PasswordHasher,
    SecondFactorServicer,
    SignInParts,
    Throttle,
    UserDirectoryServicer,
    UserServicer,
    account_pager,
)
from svc_user.settings import UserSettings
from svc_user.usecases import (
    AccountExporter,
    AuditTrail,
    Challenges,
    ClientOfCall,
    Erasure,
    Seal,
    SecondFactors,
    Sessions,
    Signing,
    TokenSource,
    WelcomeCredits,
)

SERVICE_NAME: Final = "svc_user"


def compose(user_settings: UserSettings, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service, ready to start; `now` is the clock of sessions. Called within the event loop."""
    capacity = service_capacity(user_settings, Store.POSTGRESQL, Store.OBJECTS)
    # The others are the mail that is being sent and the copy that is being made.
    database, tasks_database = service_databases(user_settings, capacity, sweeps=6, others=2)
    passwords = PasswordHasher(user_settings.password_limits())
    signing = _signing(user_settings, now)
    tokens = TokenSource(issuer=signing.issuer, random_bytes=secrets.token_bytes, clock=now)
    guard = RedisGuard.connected_to(user_settings.redis_url)
    redis = connect(user_settings.redis_url)
    credential = ServiceCredential.from_file(SERVICE_NAME, user_settings.service_key_file)
    payment, generation, gallery, models = (
        channel(address, credential, tls=user_settings.mutual_tls)
        for address in (
            user_settings.payment_internal_address,
            user_settings.generation_internal_address,
            user_settings.gallery_internal_address,
            user_settings.models_internal_address,
        )
    )
    ledger = LedgerServiceStub(payment)
    objects = S3ObjectStore.from_settings(
        user_settings, user_settings.s3_bucket, public_url=user_settings.objects_public_url
    )
    delivery = MailDelivery(
        tasks_database=tasks_database,
        writer=LetterWriter(user_settings.studio_url, user_settings.mail_sender),
        server=MailServer.parse(user_settings.smtp_url),
        objects=objects,
        random_bytes=secrets.token_bytes,
        clock=now,
    )
    welcome = WelcomeCredits(
        tasks_database=tasks_database,
        ledger=ledger,
        millicredits=user_settings.welcome_credits * MILLICREDITS_PER_CREDIT,
        clock=now,
    )
    addresses = ClientAddresses.from_file(user_settings.edge_secret_file)
    throttle = _throttle(user_settings, guard, addresses)
    revocations = Revocations.connected_to(user_settings.redis_url)
    client = ClientOfCall(addresses)
    audit = AuditTrail(client, now)
    own_secret = user_settings.service_key_file.read_bytes()
    sealing_secret = user_settings.sealing_key_file.read_bytes() if user_settings.sealing_key_file else own_secret
    factors = SecondFactors(
        seal=Seal.derived_from(sealing_secret),
        audit=audit,
        random_bytes=secrets.token_bytes,
        clock=now,
        are_required=user_settings.administrators_need_second_factor,
    )
    challenges = Challenges.derived_from(own_secret)
    sessions = Sessions(tokens=tokens, client=client, factors=factors, challenges=challenges, audit=audit)
    auth = AuthServicer(
        database=database,
        passwords=passwords,
        tokens=tokens,
        published_keys=signing.published,
        sessions=sessions,
        factors=factors,
        challenges=challenges,
        audit=audit,
        revocations=revocations,
        throttle=throttle,
        announce_mail=delivery.announce,
        welcome=welcome,
        wants_verified_email=user_settings.login_requires_verified_email,
    )
    sign_in = SignInParts(
        providers=_providers(user_settings, now),
        studio_url=user_settings.studio_url.rstrip("/"),
        attempts=Tickets(redis, "sign-in"),
        codes=Tickets(redis, "sign-in-code"),
        sessions=sessions,
        audit=audit,
        announce_mail=delivery.announce,
        welcome=welcome,
        random_bytes=secrets.token_bytes,
        clock=now,
    )
    page_tokens = PageTokens.derived_from(own_secret)
    api_keys = ApiKeyServicer(
        database=database,
        keys=KeySource(tokens.issuer, user_settings.api_key_environment, secrets.token_bytes, now),
        page_tokens=page_tokens,
        throttle=throttle,
        audit=audit,
    )
    second_factors = SecondFactorServicer(
        database=database,
        factors=factors,
        throttle=throttle,
        audit=audit,
        revocations=revocations,
        announce_mail=delivery.announce,
        clock=now,
    )
    administration = AccountAdminServicer(
        tasks_database=tasks_database,
        ledger=ledger,
        revocations=revocations,
        audit=audit,
        announce_mail=delivery.announce,
        page_tokens=page_tokens,
        clock=now,
    )
    audit_log = AuditServicer(database=database, tasks_database=tasks_database, page_tokens=page_tokens)
    directory = UserDirectoryServicer(
        database=database,
        tasks_database=tasks_database,
        passwords=passwords,
        revocations=revocations,
        audit=audit,
        clock=now,
    )
    proof = OwnerProof(
        database=database, passwords=passwords, factors=factors, throttle=throttle, audit=audit, clock=now
    )
    emails = EmailServicer(
        database=database,
        proof=proof,
        audit=audit,
        throttle=throttle,
        welcome=welcome,
        announce_mail=delivery.announce,
        clock=now,
    )
    deletions = DeletionServicer(
        database=database, proof=proof, ledger=ledger, audit=audit, announce_mail=delivery.announce, clock=now
    )
    erasure = Erasure(
        tasks_database=tasks_database,
        jobs=JobErasureServiceStub(generation),
        loras=LoraErasureServiceStub(models),
        gallery=GalleryErasureServiceStub(gallery),
        clock=now,
    )
    exports = AccountExportServicer(
        database=database,
        objects=objects,
        proof=proof,
        audit=audit,
        require_room=partial(capacity.require, Store.POSTGRESQL, Store.OBJECTS),
        clock=now,
    )
    exporter = AccountExporter(
        tasks_database=tasks_database,
        objects=objects,
        sources={
            "account": account_pager(database, page_tokens).page,
            "credits": PaymentDataServiceStub(payment).ExportAccount,
            "jobs": JobDataServiceStub(generation).ExportAccount,
            "gallery": GalleryDataServiceStub(gallery).ExportAccount,
            "models": LoraDataServiceStub(models).ExportAccount,
        },
        announce_mail=delivery.announce,
        clock=now,
    )
    account_notices = AccountNoticeServicer(
        tasks_database=tasks_database,
        announce_mail=delivery.announce,
        clock=now,
        sales_email=user_settings.sales_email,
    )
    return Server(
        user_settings,
        SERVICE_NAME,
        public=[
            (auth_service_pb2_grpc.add_AuthServiceServicer_to_server, auth),
            (add_IdentityServiceServicer_to_server, IdentityServicer(database, sign_in, throttle, page_tokens)),
            (add_EmailServiceServicer_to_server, emails),
            (add_DeletionServiceServicer_to_server, deletions),
            (add_AccountExportServiceServicer_to_server, exports),
            (add_UserServiceServicer_to_server, UserServicer(database, page_tokens, audit, now)),
            (add_ApiKeyServiceServicer_to_server, api_keys),
            (add_SecondFactorServiceServicer_to_server, second_factors),
            (add_AuditServiceServicer_to_server, audit_log),
            (add_AccountAdminServiceServicer_to_server, administration),
        ],
        internal=[
            (add_UserDirectoryServiceServicer_to_server, directory),
            (add_AccountNoticeServiceServicer_to_server, account_notices),
        ],
        edge=[
            (
                add_RateLimitServiceServicer_to_server,
                EdgeLimitServicer(SharedBuckets(guard), addresses, user_settings.address_rate()),
            )
        ],
        background=[
            partial(run_sweeps, tasks_database, tasks.sweeps(tasks_database, welcome, erasure, exporter, now)),
            delivery.run,
            partial(until_set, work=partial(tasks.make_exports, exporter)),
            signing.run,
        ],
        on_stop=[
            passwords.close,
            payment.close,
            generation.close,
            gallery.close,
            models.close,
            database.close,
            tasks_database.close,
            guard.close,
            redis.aclose,
        ],
        limits=AccountLimits.from_settings(user_settings, from_ledger(ledger)),
        capacity=capacity,
        revocations=revocations,
    )


def _throttle(user_settings: UserSettings, guard: RedisGuard, addresses: ClientAddresses) -> Throttle:
    # All replicas share the service's key, and so the names of counts.
    key = user_settings.service_key_file.read_bytes()
    return Throttle(
        attempts=SharedAttempts(guard),
        buckets=SharedBuckets(guard),
        addresses=addresses,
        limits=user_settings.throttle_limits(),
        secret=hashlib.sha256(b"pingvas login attempts\0" + key).digest(),
    )


def _providers(user_settings: UserSettings, now: Callable[[], datetime]) -> dict[Provider, OAuthProvider]:
    """Returns the providers that are configured, in the order in which people see them."""
    providers: dict[Provider, OAuthProvider] = {}
    if google := user_settings.provider_client(Provider.GOOGLE):
        providers[Provider.GOOGLE] = Google(google, user_settings.google_issuer, now=now)
    if discord := user_settings.provider_client(Provider.DISCORD):
        providers[Provider.DISCORD] = Discord(discord, user_settings.discord_url)
    return providers


def _signing(user_settings: UserSettings, now: Callable[[], datetime]) -> Signing:
    """Returns what signs access tokens; raises OSError when verifiers would refuse what this process signs."""

    def issuer_of(signing_key: SigningKey) -> AccessTokenIssuer:
        return AccessTokenIssuer(
            signing_key, user_settings.token_issuer, user_settings.token_audience, ACCESS_TOKEN_LIFETIME
        )

    return Signing.from_files(
        WatchedFile(user_settings.user_signing_key_file),
        KeySet.from_file(user_settings.user_jwks_file),
        issuer_of,
        now,
    )


def main() -> None:
    """Serves until SIGTERM."""
    user_settings = settings.load(UserSettings)
    run(user_settings, partial(compose, user_settings))


if __name__ == "__main__":
    main()
