"""One fleet for the SDKs, somebody on it, and their key."""

from collections.abc import Iterator

import pytest
from pingvas.common.v1 import scope_pb2
from pingvas.user.v1 import api_key_service_pb2
from pingvas.user.v1.api_key_service_pb2_grpc import ApiKeyServiceStub

from tests.e2e.stage import FleetPlan, Person, Stage, running_stage


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("sdk"), FleetPlan(workers=2)) as stage:
        yield stage


@pytest.fixture(scope="package")
def person(stage: Stage) -> Person:
    person = stage.person("studio")
    stage.rows("UPDATE users.users SET email_verified = true WHERE user_id = $1", person.account_id)
    return person


def key_of(stage: Stage, person: Person, *scopes: scope_pb2.Scope.ValueType) -> str:
    request = api_key_service_pb2.CreateApiKeyRequest(name="of a test", scopes=scopes)
    made = ApiKeyServiceStub(stage.channel).CreateApiKey(request, timeout=15, metadata=person.metadata)
    return str(made.key)


@pytest.fixture(scope="package")
def key(stage: Stage, person: Person) -> str:
    return key_of(stage, person, scope_pb2.SCOPE_READ, scope_pb2.SCOPE_GENERATE, scope_pb2.SCOPE_GALLERY)
