"""Puts svc_payment together from its settings and runs it: `python -m svc_payment.main`."""

from functools import partial
from pathlib import Path
from typing import Final, Literal, Self
from uuid import UUID

from pingvas.generation.v1.account_event_service_pb2_grpc import AccountEventServiceStub
from pingvas.payment.v1.credit_service_pb2_grpc import add_CreditServiceServicer_to_server
from pingvas.payment.v1.enterprise_service_pb2_grpc import add_EnterpriseServiceServicer_to_server
from pingvas.payment.v1.entitlement_pb2 import Entitlement
from pingvas.payment.v1.ledger_service_pb2_grpc import add_LedgerServiceServicer_to_server
from pingvas.payment.v1.payment_admin_service_pb2_grpc import add_PaymentAdminServiceServicer_to_server
from pingvas.payment.v1.payment_data_service_pb2_grpc import add_PaymentDataServiceServicer_to_server
from pingvas.payment.v1.subscription_service_pb2_grpc import add_SubscriptionServiceServicer_to_server
from pingvas.payment.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from pingvas.user.v1.account_notice_service_pb2_grpc import AccountNoticeServiceStub
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from pydantic import Field, FilePath, model_validator

from svc_common import redis_client
from svc_common.administration import AdministrationLog
from svc_common.capacity import service_capacity
from svc_common.client_address import ClientAddresses
from svc_common.clients import channel
from svc_common.clock import new_id, now
from svc_common.connection_budget import service_databases
from svc_common.db import Database
from svc_common.entitlements import Fetch, announcer
from svc_common.free_space import Store
from svc_common.limits.accounts import AccountLimits
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load, neighbour
from svc_common.sweeps import run_sweeps
from svc_common.tokens import ServiceCredential
from svc_payment import tasks
from svc_payment.messages import credits as messages
from svc_payment.providers.interface import Provider
from svc_payment.providers.lemon_squeezy import LemonSqueezy
from svc_payment.providers.polar import Polar
from svc_payment.servicer.account_data import PaymentDataServicer
from svc_payment.servicer.administration import PaymentAdminServicer
from svc_payment.servicer.credits import CreditServicer
from svc_payment.servicer.enterprise import EnterpriseServicer
from svc_payment.servicer.ledger import LedgerServicer
from svc_payment.servicer.subscriptions import SubscriptionServicer
from svc_payment.servicer.webhooks import WebhookServicer
from svc_payment.usecases.applying import Billing
from svc_payment.usecases.entitlement import entitlement
from svc_payment.usecases.inbox import Inbox
from svc_payment.usecases.notifying import Notifying
from svc_payment.usecases.reconciling import Listings, Reconciliation
from svc_payment.usecases.subscribing import Shop, Subscribing

SERVICE_NAME: Final = "svc_payment"


class PaymentSettings(ServiceSettings):
    """The settings of svc_payment. A provider without a key is none: its plans aren't sold, and its reports are refused."""

    user_internal_address: str = neighbour("user")
    generation_internal_address: str = neighbour("generation")

    payment_provider: Literal["", "lemon-squeezy", "polar"] = Field(
        default="", description="provider at which new checkouts are opened; empty: nothing is sold"
    )
    checkout_return_url: str = Field(
        default="http://localhost/billing", description="URL to which browsers come back from a checkout"
    )

    lemon_squeezy_api_url: str = Field(
        default="https://api.lemonsqueezy.com", pattern=r"^https?://", description="URL of Lemon Squeezy's API"
    )
    lemon_squeezy_key_file: FilePath | None = Field(
        default=None, description="file with the API key of Lemon Squeezy; absent: it isn't used"
    )
    lemon_squeezy_secrets_file: FilePath | None = Field(
        default=None,
        description="file with the secrets of its webhooks, one a line: while one is replaced, the old and the new",
    )
    lemon_squeezy_store_id: str = Field(default="", description="id of the store at Lemon Squeezy")
    lemon_squeezy_variants: dict[str, str] = Field(
        default_factory=dict,
        description='variant ids at Lemon Squeezy by plan and pack, a JSON object such as {"pro": "101"}',
    )
    lemon_squeezy_test_mode: bool = Field(default=False, description="whether key, store and reports are in test mode")

    polar_api_url: str = Field(
        default="https://api.polar.sh",
        pattern=r"^https?://",
        description="URL of Polar's API; that of its sandbox, https://sandbox-api.polar.sh, has accounts of its own",
    )
    polar_key_file: FilePath | None = Field(
        default=None, description="file with the access token of Polar; absent: it isn't used"
    )
    polar_secrets_file: FilePath | None = Field(
        default=None,
        description="file with the secrets of its webhooks, one a line: while one is replaced, the old and the new",
    )
    polar_organization_id: str = Field(default="", description="id of the organization at Polar")
    polar_products: dict[str, str] = Field(
        default_factory=dict, description='product ids at Polar by plan and pack, a JSON object such as {"pro": "..."}'
    )

    @model_validator(mode="after")
    def _providers_are_whole(self) -> Self:
        """Refuses a provider of which only a part is set, and one that is to sell but isn't set at all."""
        for name, key, rest in (
            (
                "LEMON_SQUEEZY",
                self.lemon_squeezy_key_file,
                (self.lemon_squeezy_secrets_file, self.lemon_squeezy_store_id),
            ),
            ("POLAR", self.polar_key_file, (self.polar_secrets_file, self.polar_organization_id)),
        ):
            if key and not all(rest):
                raise ValueError(
                    f"{name}_KEY_FILE is set: set the secrets of {name}, and its store or organization, as well"
                )
            if self.payment_provider == name.lower().replace("_", "-") and not key:
                raise ValueError(f"PAYMENT_PROVIDER names it: set {name}_KEY_FILE")
        return self


def compose(settings: PaymentSettings) -> Server:
    """Returns the service with its parts; connects to nothing yet."""
    capacity = service_capacity(settings, Store.POSTGRESQL)
    # The other one is the report that is being applied.
    database, tasks_database = service_databases(settings, capacity, sweeps=9, others=1)
    redis = redis_client.connect(settings.redis_url)
    page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
    announce = announcer(redis)
    providers = {provider.name: provider for provider in configured_providers(settings)}
    shop = Shop(providers.get(settings.payment_provider), settings.checkout_return_url)
    billing = Billing(database=tasks_database, providers=providers, announce=announce)
    inbox = Inbox(billing, now=now, new_id=new_id)
    subscribing = Subscribing(
        database=database, billing=billing, shop=shop, listings=Listings(billing, now=now), now=now, new_id=new_id
    )
    credit_servicer = CreditServicer(database=database, page_tokens=page_tokens)
    subscription_servicer = SubscriptionServicer(
        database=database, page_tokens=page_tokens, subscribing=subscribing, shop=shop
    )
    ledger_servicer = LedgerServicer(
        database=database, tasks_database=tasks_database, announce_entitlement=announce, page_tokens=page_tokens
    )
    enterprise_servicer = EnterpriseServicer(
        database=database,
        tasks_database=tasks_database,
        announce_entitlement=announce,
        page_tokens=page_tokens,
        new_id=new_id,
    )
    credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
    users, generation = (
        channel(address, credential, tls=settings.mutual_tls)
        for address in (settings.user_internal_address, settings.generation_internal_address)
    )
    administration = PaymentAdminServicer(
        ledger=ledger_servicer,
        log=AdministrationLog(UserDirectoryServiceStub(users), ClientAddresses.from_file(settings.edge_secret_file)),
    )
    notifying = Notifying(
        database=tasks_database, people=AccountNoticeServiceStub(users), events=AccountEventServiceStub(generation)
    )
    sweeps = [
        *tasks.sweeps(tasks_database),
        *tasks.provider_sweeps(Reconciliation(billing, now=now)),
        *tasks.notice_sweeps(notifying),
    ]
    return Server(
        settings,
        SERVICE_NAME,
        public=[
            (add_CreditServiceServicer_to_server, credit_servicer),
            (add_SubscriptionServiceServicer_to_server, subscription_servicer),
            (add_PaymentAdminServiceServicer_to_server, administration),
            (add_EnterpriseServiceServicer_to_server, enterprise_servicer),
        ],
        internal=[
            (add_LedgerServiceServicer_to_server, ledger_servicer),
            (add_WebhookServiceServicer_to_server, WebhookServicer(inbox=inbox)),
            (add_PaymentDataServiceServicer_to_server, PaymentDataServicer(database=database, page_tokens=page_tokens)),
        ],
        background=[partial(run_sweeps, tasks_database, sweeps), inbox.run],
        on_stop=[
            generation.close,
            redis.aclose,
            users.close,
            database.close,
            tasks_database.close,
            *(provider.close for provider in providers.values()),
        ],
        capacity=capacity,
        limits=AccountLimits.from_settings(settings, own_entitlements(database)),
    )


def own_entitlements(database: Database) -> Fetch:
    """Returns how payment looks up what accounts are allowed; the other services ask it with GetEntitlement."""

    async def fetch(account_id: UUID) -> Entitlement:
        async with database.transaction(account_id) as session:
            held = await entitlement(session, account_id)
        return Entitlement(limits=messages.limits_message(held.limits))

    return fetch


def configured_providers(settings: PaymentSettings) -> list[Provider]:
    """Returns the providers that have a key."""
    providers: list[Provider] = []
    if settings.lemon_squeezy_key_file:
        providers.append(
            LemonSqueezy(
                api_url=settings.lemon_squeezy_api_url,
                api_key=settings.lemon_squeezy_key_file.read_text(encoding="utf-8").strip(),
                store_id=settings.lemon_squeezy_store_id,
                secrets=_lines(settings.lemon_squeezy_secrets_file),
                variants=settings.lemon_squeezy_variants,
                is_test=settings.lemon_squeezy_test_mode,
            )
        )
    if settings.polar_key_file:
        providers.append(
            Polar(
                api_url=settings.polar_api_url,
                api_key=settings.polar_key_file.read_text(encoding="utf-8").strip(),
                organization_id=settings.polar_organization_id,
                secrets=_lines(settings.polar_secrets_file),
                products=settings.polar_products,
            )
        )
    return providers


def _lines(file: Path | None) -> list[str]:
    return [line for line in map(str.strip, file.read_text(encoding="utf-8").splitlines()) if line] if file else []


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = load(PaymentSettings)
    run(settings, lambda: compose(settings))


if __name__ == "__main__":
    main()
