"""svc_models through its real listeners, with a real database and a real svc_payment that tells the tiers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pingvas.common.v1 import tier_pb2
from pingvas.models.v1 import catalogue_service_pb2, model_pb2, model_service_pb2
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub
from pingvas.payment.v1 import ledger_service_pb2
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

from svc_common.clock import new_id, now
from svc_common.db import Database
from svc_common.errors import Reason
from svc_models.main import ModelsSettings
from svc_models.main import compose as compose_models
from svc_models.tasks.catalogue import publication_of, publish, read_folders
from svc_payment.main import PaymentSettings
from svc_payment.main import compose as compose_payment
from tests.factories.models import put_manifest
from tests.harness_postgres import DatabaseFactory, ServiceDatabase, until
from tests.harness_redis import RedisServer
from tests.harness_service import Identities, RunningService, refusal_of, running, settings_values

# What each model asks for: free reaches tiny and sd15; sdxl comes with pro; one tiny model is held back for studio.
MODELS = {
    "pingvas-tiny": {"family": "tiny"},
    "a-first": {"family": "sd15"},
    "flux-dev": {"family": "flux", "minimum_tier": "pro"},
    "tiny-special": {"family": "tiny", "minimum_tier": "studio"},
    "xl": {"family": "sdxl", "minimum_tier": "pro"},
}


@dataclass(frozen=True, slots=True)
class Models:
    """A running svc_models with the svc_payment that it asks, and short ways to call both."""

    database: ServiceDatabase
    models: ModelServiceStub
    catalogue: CatalogueServiceStub
    ledger: LedgerServiceStub
    identities: Identities

    def get(self, account_id: UUID, model_id: str) -> Awaitable[model_pb2.Model]:
        request = model_service_pb2.GetModelRequest(model_id=model_id)
        return self.models.GetModel(request, metadata=self.identities.as_user(account_id))

    def page(self, account_id: UUID, **request: Any) -> Awaitable[model_service_pb2.ListModelsResponse]:
        message = model_service_pb2.ListModelsRequest(**request)
        return self.models.ListModels(message, metadata=self.identities.as_user(account_id))

    async def ids(self, account_id: UUID) -> list[str]:
        return [model.model_id for model in (await self.page(account_id)).models]

    def resolve(self, model_id: str = "", service: str = "svc_generation") -> Awaitable[model_pb2.ModelSpec]:
        request = catalogue_service_pb2.ResolveModelRequest(model_id=model_id)
        return self.catalogue.ResolveModel(request, metadata=self.identities.as_service(service))

    async def account_on(self, tier: str) -> UUID:
        account_id = new_id()
        await self.set_tier(account_id, tier)
        return account_id

    async def set_tier(self, account_id: UUID, tier: str) -> None:
        request = ledger_service_pb2.SetTierRequest(account_id=str(account_id), tier=f"TIER_{tier.upper()}")
        await self.ledger.SetTier(request, metadata=self.identities.as_service("operator"))


@pytest.fixture(scope="module")
async def payment(
    database_for: DatabaseFactory, _session_redis_server: RedisServer, identities: Identities
) -> AsyncIterator[RunningService]:
    values = settings_values(identities, "svc_payment", await database_for("payment"))
    settings = PaymentSettings(**values | {"redis_url": _session_redis_server.url})
    async with running(compose_payment(settings)) as service:
        yield service


def models_settings(
    identities: Identities, database: ServiceDatabase, payment_address: str, *folders: Path
) -> ModelsSettings:
    values = settings_values(identities, "svc_models", database, payment_internal_address=payment_address)
    return ModelsSettings(**values, catalogue_dirs=",".join(map(str, folders)))


def client_of(
    service: RunningService, payment: RunningService, database: ServiceDatabase, identities: Identities
) -> Models:
    stubs = ModelServiceStub(service.public), CatalogueServiceStub(service.internal)
    return Models(database, *stubs, LedgerServiceStub(payment.internal), identities)


@pytest.fixture(scope="module")
async def models(
    database_for: DatabaseFactory,
    payment: RunningService,
    identities: Identities,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Models]:
    folder, database = tmp_path_factory.mktemp("models"), await database_for("models")
    for model_id, changes in MODELS.items():
        put_manifest(folder, model_id, **changes)
    settings = models_settings(identities, database, payment.internal_address, folder)
    async with running(compose_models(settings, read_folders(settings.catalogue_dirs))) as service:
        yield client_of(service, payment, database, identities)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("free", ["a-first", "pingvas-tiny"]),
        ("starter", ["a-first", "pingvas-tiny"]),
        ("pro", ["a-first", "flux-dev", "pingvas-tiny", "xl"]),
        ("studio", ["a-first", "flux-dev", "pingvas-tiny", "tiny-special", "xl"]),
        ("enterprise", ["a-first", "flux-dev", "pingvas-tiny", "tiny-special", "xl"]),
    ],
)
async def test_list_shows_what_the_tier_reaches_by_id(models: Models, tier: str, expected: list[str]) -> None:
    assert await models.ids(await models.account_on(tier)) == expected


async def test_account_that_payment_never_heard_of_reaches_what_free_does(models: Models) -> None:
    assert await models.ids(new_id()) == ["a-first", "pingvas-tiny"]


async def test_new_tier_is_seen_within_seconds(models: Models) -> None:
    account_id = await models.account_on("free")
    assert "xl" not in await models.ids(account_id)

    await models.set_tier(account_id, "pro")

    async def reaches_xl() -> bool:
        return "xl" in await models.ids(account_id)

    await until(reaches_xl, within_seconds=20.0)


async def test_reached_model_is_described(models: Models) -> None:
    model = await models.get(await models.account_on("pro"), "flux-dev")

    created = model.create_time.ToDatetime(UTC)
    model.ClearField("create_time")
    assert created <= datetime.now(UTC)
    assert model == model_pb2.Model(
        model_id="flux-dev",
        display_name="The model flux-dev",
        family="flux",
        revision="1",
        licence="Apache-2.0",
        native_width_px=512,
        native_height_px=256,
        default_step_count=20,
        default_guidance_scale=7.5,
        schedulers=["euler", "ddim"],
        minimum_tier=tier_pb2.TIER_PRO,
        size_bytes=1024,
        kind=model_pb2.MODEL_KIND_CHECKPOINT,
        operations=[model_pb2.OPERATION_TEXT_TO_IMAGE],
    )


@pytest.mark.parametrize(
    ("tier", "model_id", "minimum_tier"),
    [("free", "flux-dev", "pro"), ("starter", "xl", "pro"), ("pro", "tiny-special", "studio")],
)
async def test_model_above_the_tier_is_refused_with_the_tier_that_reaches_it(
    models: Models, tier: str, model_id: str, minimum_tier: str
) -> None:
    refusal = await refusal_of(models.get(await models.account_on(tier), model_id))

    assert refusal.reason is Reason.MODEL_NOT_IN_TIER
    assert refusal.metadata == {"model_id": model_id, "tier": tier, "minimum_tier": minimum_tier}


async def test_unknown_model_is_not_found(models: Models) -> None:
    refusal = await refusal_of(models.get(new_id(), "nonsense"))

    assert (refusal.reason, refusal.metadata) == (Reason.MODEL_NOT_FOUND, {"model_id": "nonsense"})


async def test_pages_of_one_walk_all_models_in_order(models: Models) -> None:
    account_id = await models.account_on("studio")

    seen, page_token = [], ""
    for _ in MODELS:
        page = await models.page(account_id, page_size=1, page_token=page_token)
        seen += [model.model_id for model in page.models]
        page_token = page.next_page_token

    assert (seen, page_token) == (sorted(MODELS), "")


async def test_made_up_page_token_is_refused(models: Models) -> None:
    assert (await refusal_of(models.page(new_id(), page_token="nonsense"))).reason is Reason.PAGE_TOKEN_INVALID


async def test_bad_requests_name_their_field(models: Models) -> None:
    too_large = await refusal_of(models.page(new_id(), page_size=201))
    nameless = await refusal_of(models.get(new_id(), ""))
    too_long = await refusal_of(models.resolve("x" * 101))

    fields = [[each.field for each in refusal.violations] for refusal in (too_large, nameless, too_long)]
    assert fields == [["page_size"], ["model_id"], ["model_id"]]
    assert {refusal.reason for refusal in (too_large, nameless, too_long)} == {Reason.INVALID_FIELD}


async def test_public_methods_want_a_user(models: Models) -> None:
    call = models.models.ListModels(model_service_pb2.ListModelsRequest())

    assert (await refusal_of(call)).reason is Reason.CREDENTIALS_MISSING


@pytest.mark.parametrize("service", ["svc_generation", "gpu_worker", "operator"])
async def test_resolve_tells_all_that_running_and_pricing_need_whatever_the_tier(models: Models, service: str) -> None:
    spec = await models.resolve("xl", service)

    assert spec.model.model_id == "xl"
    assert list(spec.files) == [
        model_pb2.ModelFile(path="unet/weights.safetensors", size_bytes=1000, sha256="0a" * 32),
        model_pb2.ModelFile(path="model_index.json", size_bytes=24, sha256="1b" * 32),
    ]
    assert spec.cost == model_pb2.ModelCost(per_megapixel_step_millicredits=380.5, fixed_millicredits=60)


async def test_resolve_without_id_gives_the_default(models: Models) -> None:
    assert (await models.resolve()).model.model_id == "pingvas-tiny"


async def test_resolve_of_unknown_model_is_not_found(models: Models) -> None:
    assert (await refusal_of(models.resolve("nonsense"))).reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize("service", ["svc_user", "svc_gallery"])
async def test_services_that_are_not_named_may_not_resolve(models: Models, service: str) -> None:
    assert (await refusal_of(models.resolve("xl", service))).reason is Reason.CALLER_NOT_ALLOWED


async def test_without_payment_listing_is_unavailable_and_resolving_goes_on(
    database_for: DatabaseFactory, payment: RunningService, identities: Identities, tmp_path: Path
) -> None:
    put_manifest(tmp_path, "pingvas-tiny")
    database, nobody = await database_for("models"), "127.0.0.1:1"
    settings = models_settings(identities, database, nobody, tmp_path)
    async with running(compose_models(settings, read_folders([tmp_path]))) as service:
        models = client_of(service, payment, database, identities)
        refusals = [await refusal_of(models.page(new_id())), await refusal_of(models.get(new_id(), "pingvas-tiny"))]
        resolved = await models.resolve()

    assert [refusal.reason for refusal in refusals] == [Reason.DEPENDENCY_UNAVAILABLE] * 2
    assert refusals[0].metadata == {"dependency": "svc_payment"}
    assert resolved.model.model_id == "pingvas-tiny"


async def test_catalogue_without_models_resolves_nothing(
    database_for: DatabaseFactory, payment: RunningService, identities: Identities
) -> None:
    database = await database_for("models")
    settings = models_settings(identities, database, payment.internal_address)
    async with running(compose_models(settings, read_folders([]))) as service:
        models = client_of(service, payment, database, identities)
        refusal, listed = await refusal_of(models.resolve()), await models.ids(new_id())

    assert (refusal.reason, listed) == (Reason.MODEL_NOT_FOUND, [])


async def test_change_by_another_replica_is_seen_within_seconds_and_outlasts_a_restart(
    database_for: DatabaseFactory, payment: RunningService, identities: Identities, tmp_path: Path
) -> None:
    put_manifest(tmp_path, "pingvas-tiny", within="pingvas-tiny/1")
    database = await database_for("models")
    settings = models_settings(identities, database, payment.internal_address, tmp_path)
    async with running(compose_models(settings, read_folders([tmp_path]))) as service:
        models = client_of(service, payment, database, identities)
        put_manifest(tmp_path, "pingvas-tiny", within="pingvas-tiny/2", revision="2")
        put_manifest(tmp_path, "another")
        tasks_database = Database(database.tasks_url)
        await publish(tasks_database, publication_of(read_folders([tmp_path]), "another"), now)
        await tasks_database.close()

        async def serves_another() -> bool:
            return (await models.resolve()).model.model_id == "another"

        await until(serves_another, within_seconds=30.0)
        assert (await models.resolve("pingvas-tiny")).model.revision == "2"

    async with running(compose_models(settings, read_folders([]))) as service:
        restarted = client_of(service, payment, database, identities)
        assert (await restarted.resolve()).model.model_id == "another"
        assert await restarted.ids(new_id()) == ["another", "pingvas-tiny"]


def test_process_with_a_bad_manifest_names_it_and_does_not_start(identities: Identities, tmp_path: Path) -> None:
    path = put_manifest(tmp_path / "models", "a", minimum_tier="gold")
    nowhere = ServiceDatabase(
        "none", None, "postgresql+asyncpg://x@127.0.0.1:1/x", "postgresql+asyncpg://x@127.0.0.1:1/x", ""
    )
    values = settings_values(identities, "svc_models", nowhere) | {"catalogue_dirs": tmp_path / "models"}
    environment = os.environ | {name.upper(): str(value) for name, value in values.items()}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)

    ended = subprocess.run(
        [sys.executable, "-m", "svc_models.main"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert f"{path}: minimum_tier can't be used: 'gold' is none of the tiers" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_parallel_reads_of_the_catalogue_agree(models: Models) -> None:
    answers = await asyncio.gather(*(models.resolve("xl") for _ in range(50)))

    assert all(answer == answers[0] for answer in answers)
