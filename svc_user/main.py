"""Composes svc_user from its settings and serves it: `python -m svc_user.main`."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from envoyproxy.rls_pb2_grpc import add_RateLimitServiceServicer_to_server
from pingvas.gallery.v1.gallery_data_service_pb2_grpc import GalleryDataServiceStub
from pingvas.gallery.v1.gallery_erasure_service_pb2_grpc import GalleryErasureServiceStub
from pingvas.generation.v1.job_data_service_pb2_grpc import JobDataServiceStub
from pingvas.generation.v1.job_erasure_service_pb2_grpc import JobErasureServiceStub
from pingvas.models.v1.lora_data_service_pb2_grpc import LoraDataServiceStub
from pingvas.models.v1.lora_erasure_service_pb2_grpc import LoraErasureServiceStub
from pingvas.payment.v1.payment_data_service_pb2_grpc import PaymentDataServiceStub
from pingvas.user.v1.account_admin_service_pb2_grpc import add_AccountAdminServiceServicer_to_server
from pingvas.user.v1.account_export_service_pb2_grpc import add_AccountExportServiceServicer_to_server
from pingvas.user.v1.account_notice_service_pb2_grpc import add_AccountNoticeServiceServicer_to_server
from pingvas.user.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from pingvas.user.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from pingvas.user.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from pingvas.user.v1.deletion_service_pb2_grpc import add_DeletionServiceServicer_to_server
from pingvas.user.v1.email_service_pb2_grpc import add_EmailServiceServicer_to_server
from pingvas.user.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from pingvas.user.v1.second_factor_service_pb2_grpc import add_SecondFactorServiceServicer_to_server
from pingvas.user.v1.user_directory_service_pb2_grpc import add_UserDirectoryServiceServicer_to_server
from pingvas.user.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from svc_common import clock
from svc_common.concurrency import until_set
from svc_common.entitlements import from_ledger
from svc_common.free_space import Store
from svc_common.interceptors.registration import Registration
from svc_common.limits.accounts import AccountLimits
from svc_common.limits.buckets import SharedBuckets
from svc_common.server import Background, Server, run
from svc_common.settings import load
from svc_common.sweeps import run_sweeps
from svc_common.tickets import Tickets
from svc_user import tasks
from svc_user.domain.federation import Provider
from svc_user.parts import SERVICE_NAME, Parts
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
    SecondFactorServicer,
    SignInParts,
    UserDirectoryServicer,
    UserServicer,
    account_pager,
)
from svc_user.settings import UserSettings
from svc_user.usecases import (
    AccountExporter,
    Erasure,
)


def compose(settings: UserSettings, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service, ready to start; `now` is the clock of sessions. Called within the event loop."""
    parts = Parts(settings, now)
    return Server(
        settings,
        SERVICE_NAME,
        public=[*_ways_in(parts), *_account_services(parts), *_administration(parts)],
        internal=_internal_services(parts),
        edge=[
            (
                add_RateLimitServiceServicer_to_server,
                EdgeLimitServicer(SharedBuckets(parts.guard), parts.addresses, settings.address_rate()),
            )
        ],
        background=_background(parts),
        on_stop=[parts.close],
        limits=AccountLimits.from_settings(settings, from_ledger(parts.ledger)),
        capacity=parts.capacity,
        revocations=parts.revocations,
    )


def _ways_in(parts: Parts) -> Sequence[Registration]:
    """Returns the services by which somebody becomes a caller: sign-in, second factors and keys."""
    auth = AuthServicer(
        database=parts.requests,
        passwords=parts.passwords,
        tokens=parts.tokens,
        published_keys=parts.signing.published,
        sessions=parts.sessions,
        factors=parts.factors,
        challenges=parts.challenges,
        audit=parts.audit,
        revocations=parts.revocations,
        throttle=parts.throttle,
        announce_mail=parts.delivery.announce,
        welcome=parts.welcome,
        wants_verified_email=parts.settings.login_requires_verified_email,
    )
    sign_in = SignInParts(
        providers=_providers(parts.settings, parts.now),
        studio_url=parts.settings.studio_url.rstrip("/"),
        attempts=Tickets(parts.redis, "sign-in"),
        codes=Tickets(parts.redis, "sign-in-code"),
        sessions=parts.sessions,
        audit=parts.audit,
        announce_mail=parts.delivery.announce,
        welcome=parts.welcome,
        random_bytes=secrets.token_bytes,
        clock=parts.now,
    )
    second_factors = SecondFactorServicer(
        database=parts.requests,
        factors=parts.factors,
        throttle=parts.throttle,
        audit=parts.audit,
        revocations=parts.revocations,
        announce_mail=parts.delivery.announce,
        clock=parts.now,
    )
    api_keys = ApiKeyServicer(
        database=parts.requests,
        keys=KeySource(parts.tokens.issuer, parts.settings.api_key_environment, secrets.token_bytes, parts.now),
        page_tokens=parts.page_tokens,
        throttle=parts.throttle,
        audit=parts.audit,
    )
    identities = IdentityServicer(parts.requests, sign_in, parts.throttle, parts.page_tokens)
    return [
        (add_AuthServiceServicer_to_server, auth),
        (add_IdentityServiceServicer_to_server, identities),
        (add_SecondFactorServiceServicer_to_server, second_factors),
        (add_ApiKeyServiceServicer_to_server, api_keys),
    ]


def _account_services(parts: Parts) -> Sequence[Registration]:
    """Returns the services by which people keep their own accounts."""
    emails = EmailServicer(
        database=parts.requests,
        proof=parts.proof,
        audit=parts.audit,
        throttle=parts.throttle,
        welcome=parts.welcome,
        announce_mail=parts.delivery.announce,
        clock=parts.now,
    )
    deletions = DeletionServicer(
        database=parts.requests,
        proof=parts.proof,
        ledger=parts.ledger,
        audit=parts.audit,
        announce_mail=parts.delivery.announce,
        clock=parts.now,
    )
    exports = AccountExportServicer(
        database=parts.requests,
        objects=parts.objects,
        proof=parts.proof,
        audit=parts.audit,
        require_room=partial(parts.capacity.require, Store.POSTGRESQL, Store.OBJECTS),
        clock=parts.now,
    )
    profiles = UserServicer(parts.requests, parts.page_tokens, parts.audit, parts.now)
    return [
        (add_UserServiceServicer_to_server, profiles),
        (add_EmailServiceServicer_to_server, emails),
        (add_DeletionServiceServicer_to_server, deletions),
        (add_AccountExportServiceServicer_to_server, exports),
    ]


def _administration(parts: Parts) -> Sequence[Registration]:
    """Returns what administrators do, and what tells everybody what was done."""
    accounts = AccountAdminServicer(
        tasks_database=parts.tasks,
        ledger=parts.ledger,
        revocations=parts.revocations,
        audit=parts.audit,
        announce_mail=parts.delivery.announce,
        page_tokens=parts.page_tokens,
        clock=parts.now,
    )
    log = AuditServicer(database=parts.requests, tasks_database=parts.tasks, page_tokens=parts.page_tokens)
    return [
        (add_AccountAdminServiceServicer_to_server, accounts),
        (add_AuditServiceServicer_to_server, log),
    ]


def _internal_services(parts: Parts) -> Sequence[Registration]:
    directory = UserDirectoryServicer(
        database=parts.requests,
        tasks_database=parts.tasks,
        passwords=parts.passwords,
        revocations=parts.revocations,
        audit=parts.audit,
        clock=parts.now,
    )
    notices = AccountNoticeServicer(
        tasks_database=parts.tasks,
        announce_mail=parts.delivery.announce,
        clock=parts.now,
        sales_email=parts.settings.sales_email,
    )
    return [
        (add_UserDirectoryServiceServicer_to_server, directory),
        (add_AccountNoticeServiceServicer_to_server, notices),
    ]


def _background(parts: Parts) -> Sequence[Background]:
    erasure = Erasure(
        tasks_database=parts.tasks,
        jobs=JobErasureServiceStub(parts.generation),
        loras=LoraErasureServiceStub(parts.models),
        gallery=GalleryErasureServiceStub(parts.gallery),
        clock=parts.now,
    )
    exporter = AccountExporter(
        tasks_database=parts.tasks,
        objects=parts.objects,
        sources={
            "account": account_pager(parts.requests, parts.page_tokens).page,
            "credits": PaymentDataServiceStub(parts.payment).ExportAccount,
            "jobs": JobDataServiceStub(parts.generation).ExportAccount,
            "gallery": GalleryDataServiceStub(parts.gallery).ExportAccount,
            "models": LoraDataServiceStub(parts.models).ExportAccount,
        },
        announce_mail=parts.delivery.announce,
        clock=parts.now,
    )
    sweeps = tasks.sweeps(parts.tasks, parts.welcome, erasure, exporter, parts.now)
    return [
        partial(run_sweeps, parts.tasks, sweeps),
        parts.delivery.run,
        partial(until_set, work=partial(tasks.make_exports, exporter)),
        parts.signing.run,
    ]


def _providers(settings: UserSettings, now: Callable[[], datetime]) -> dict[Provider, OAuthProvider]:
    """Returns the providers that are configured, in the order in which people see them."""
    providers: dict[Provider, OAuthProvider] = {}
    if google := settings.provider_client(Provider.GOOGLE):
        providers[Provider.GOOGLE] = Google(google, settings.google_issuer, now=now)
    if discord := settings.provider_client(Provider.DISCORD):
        providers[Provider.DISCORD] = Discord(discord, settings.discord_url)
    return providers


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(UserSettings)
    run(settings, partial(compose, settings))


if __name__ == "__main__":
    main()
