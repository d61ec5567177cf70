"""A small platform behind a real Envoy, one for all tests of this folder; each test finds it as if it were new."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from edge_envoy.settings import Address, EdgeSettings
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.interceptors.interceptor import Verifiers
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokens, ServiceTokens
from tests.fakes.drawing_platform import ObjectStore, Slow, draw
from tests.fakes.public_platform import PublicPlatform
from tests.harness_bridge import running_bridge
from tests.harness_envoy import Edge, running_edge
from tests.harness_service import AUDIENCE, ISSUER, Identities


@pytest_asyncio.fixture(scope="session")
async def shared_platform(identities: Identities) -> AsyncIterator[PublicPlatform]:
    access_tokens = AccessTokens(KeySet.from_file(identities.folder / "users.jwks"), ISSUER, AUDIENCE)
    service_tokens = ServiceTokens(KeySet.from_file(identities.folder / "services.jwks"))
    platform = PublicPlatform(Verifiers(access_tokens, service_tokens))
    await platform.start()
    yield platform
    await platform.stop()


@pytest_asyncio.fixture(scope="session")
async def bridge_port(shared_platform: PublicPlatform) -> AsyncIterator[int]:
    addresses = {area: f"127.0.0.1:{port}" for area, port in shared_platform.ports.items()}
    async with running_bridge(addresses) as port:
        yield port


@pytest.fixture(scope="session")
def edge_settings(shared_platform: PublicPlatform, bridge_port: int, identities: Identities) -> EdgeSettings:
    """The edge as it runs in production, in front of the small platform."""
    return EdgeSettings(
        listen=Address("127.0.0.1", 8080),
        admin=Path("/nowhere/envoy-admin.sock"),
        upstreams={area: Address("127.0.0.1", port) for area, port in shared_platform.ports.items()},
        descriptor_set=DESCRIPTOR_SET,
        token_check=Path("/nowhere/token-check.json"),
        user_jwks=identities.folder / "users.jwks",
        bridge=Address("127.0.0.1", bridge_port),
    )


@pytest_asyncio.fixture(scope="session")
async def edge(edge_settings: EdgeSettings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with running_edge(edge_settings, tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def platform(shared_platform: PublicPlatform) -> PublicPlatform:
    shared_platform.reset()
    return shared_platform


@pytest.fixture(scope="session")
def shared_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture
def store(shared_store: ObjectStore) -> ObjectStore:
    shared_store.put.clear()
    shared_store.failures = 0
    return shared_store


@pytest.fixture
def studio(platform: PublicPlatform, store: ObjectStore) -> PublicPlatform:
    """The small platform, which draws."""
    draw(platform, store)
    return platform


@pytest.fixture
def slow(studio: PublicPlatform) -> Slow:
    """The drawing platform, made slow."""
    return Slow(studio)


@pytest.fixture
def token(identities: Identities) -> str:
    """Somebody's access token."""
    return dict(identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR))["authorization"].removeprefix("Bearer ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test's own Envoy keeps its files."""
    return tmp_path
