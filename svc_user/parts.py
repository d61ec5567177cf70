"""What the handlers of svc_user and its work in the background have in common, built from the settings."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.capacity import service_capacity
from svc_common.client_address import ClientAddresses
from svc_common.clients import channel
from svc_common.connection_budget import service_databases
from svc_common.credits import MILLICREDITS_PER_CREDIT
from svc_common.free_space import Store
from svc_common.key_sets import KeySet
from svc_common.limits.attempts import SharedAttempts
from svc_common.limits.buckets import SharedBuckets
from svc_common.limits.redis_guard import RedisGuard
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.redis_client import connect
from svc_common.revocations import Revocations
from svc_common.tokens import AccessTokenIssuer, ServiceCredential, SigningKey
from svc_common.watched_file import WatchedFile
from svc_user.domain import ACCESS_TOKEN_LIFETIME
from svc_user.mail import LetterWriter, MailDelivery, MailServer
from svc_user.servicer import (
    OwnerProof,
    PasswordHasher,
    Throttle,
)
from svc_user.settings import UserSettings
from svc_user.usecases import (
    AuditTrail,
    Challenges,
    ClientOfCall,
    Seal,
    SecondFactors,
    Sessions,
    Signing,
    TokenSource,
    WelcomeCredits,
)

SERVICE_NAME: Final = "svc_user"


class Parts:
    """What the handlers and the work in the background have in common."""

    def __init__(self, settings: UserSettings, now: Callable[[], datetime]) -> None:
        """Builds it in the order in which one needs the other; nothing connects yet."""
        self.settings = settings
        self.now = now
        self.capacity = service_capacity(settings, Store.POSTGRESQL, Store.OBJECTS)
        # The others are the mail that is being sent and the copy that is being made.
        self.requests, self.tasks = service_databases(settings, self.capacity, sweeps=6, others=2)
        self.guard = RedisGuard.connected_to(settings.redis_url)
        self.redis = connect(settings.redis_url)
        self.objects = S3ObjectStore.from_settings(settings, settings.s3_bucket, public_url=settings.objects_public_url)
        credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
        self.payment, self.generation, self.gallery, self.models = (
            channel(address, credential, tls=settings.mutual_tls)
            for address in (
                settings.payment_internal_address,
                settings.generation_internal_address,
                settings.gallery_internal_address,
                settings.models_internal_address,
            )
        )
        self.ledger = LedgerServiceStub(self.payment)
        own_secret = settings.service_key_file.read_bytes()
        self.page_tokens = PageTokens.derived_from(own_secret)
        self.challenges = Challenges.derived_from(own_secret)
        self.addresses = ClientAddresses.from_file(settings.edge_secret_file)
        self.client = ClientOfCall(self.addresses)
        self.audit = AuditTrail(self.client, now)
        self.revocations = Revocations.connected_to(settings.redis_url)
        self.throttle = _throttle(settings, self.guard, self.addresses)
        self.passwords = PasswordHasher(settings.password_limits())
        self.signing = _signing(settings, now)
        self.tokens = TokenSource(issuer=self.signing.issuer, random_bytes=secrets.token_bytes, clock=now)
        self.factors = SecondFactors(
            seal=Seal.derived_from(settings.sealing_key_file.read_bytes() if settings.sealing_key_file else own_secret),
            audit=self.audit,
            random_bytes=secrets.token_bytes,
            clock=now,
            are_required=settings.administrators_need_second_factor,
        )
        self.sessions = Sessions(
            tokens=self.tokens,
            client=self.client,
            factors=self.factors,
            challenges=self.challenges,
            audit=self.audit,
        )
        self.delivery = MailDelivery(
            tasks_database=self.tasks,
            writer=LetterWriter(settings.studio_url, settings.mail_sender),
            server=MailServer.parse(settings.smtp_url),
            objects=self.objects,
            random_bytes=secrets.token_bytes,
            clock=now,
        )
        self.welcome = WelcomeCredits(
            tasks_database=self.tasks,
            ledger=self.ledger,
            millicredits=settings.welcome_credits * MILLICREDITS_PER_CREDIT,
            clock=now,
        )
        self.proof = OwnerProof(
            database=self.requests,
            passwords=self.passwords,
            factors=self.factors,
            throttle=self.throttle,
            audit=self.audit,
            clock=now,
        )

    async def close(self) -> None:
        """Closes the connections, and ends the threads that hash."""
        await self.passwords.close()
        for called in (self.payment, self.generation, self.gallery, self.models):
            await called.close()
        await self.requests.close()
        await self.tasks.close()
        await self.guard.close()
        await self.redis.aclose()


def _throttle(settings: UserSettings, guard: RedisGuard, addresses: ClientAddresses) -> Throttle:
    # All replicas share the service's key, and so the names of counts.
    key = settings.service_key_file.read_bytes()
    return Throttle(
        attempts=SharedAttempts(guard),
        buckets=SharedBuckets(guard),
        addresses=addresses,
        limits=settings.throttle_limits(),
        secret=hashlib.sha256(b"pingvas login attempts\0" + key).digest(),
    )


def _signing(settings: UserSettings, now: Callable[[], datetime]) -> Signing:
    """Returns what signs access tokens; raises OSError when verifiers would refuse what this process signs."""

    def issuer_of(signing_key: SigningKey) -> AccessTokenIssuer:
        return AccessTokenIssuer(signing_key, settings.token_issuer, settings.token_audience, ACCESS_TOKEN_LIFETIME)

    return Signing.from_files(
        WatchedFile(settings.user_signing_key_file),
        KeySet.from_file(settings.user_jwks_file),
        issuer_of,
        now,
    )
