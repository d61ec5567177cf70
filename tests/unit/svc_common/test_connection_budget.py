"""Connections to PostgreSQL: those of all processes together fit into what the server allows, in every deployment."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from studio.stack.servers.postgres import MAX_CONNECTIONS
from svc_common.capacity import service_capacity
from svc_common.connection_budget import RESERVED, service_databases, share_of_each
from svc_common.settings import LEAST_CONNECTIONS, ServiceSettings
from svc_common.sweeps import Sweep, run_sweeps
from tests.harness_postgres import UNREACHABLE_DATABASE
from tests.harness_service import Identities, settings_values

ROOT: Final = Path(__file__).resolve().parents[3]
_SERVICES: Final = 7
_CLUSTER_LIMIT: Final = 1250
"""What docs/deployment.md asks of the server."""


@pytest.mark.parametrize("processes", [5, 7, 13])
def test_shares_stay_below_the_limit_together(processes: int) -> None:
    share = share_of_each(MAX_CONNECTIONS, processes)
    assert share >= LEAST_CONNECTIONS
    assert processes * share + RESERVED <= MAX_CONNECTIONS
    assert processes * (share + 1) + RESERVED > MAX_CONNECTIONS


def test_too_many_processes_are_refused_with_the_limit_that_they_need() -> None:
    with pytest.raises(ValueError, match="max_connections of 141 at least, and PostgreSQL has 100"):
        share_of_each(100, 9)


def yaml_of(*path: str) -> Any:
    return list(yaml.safe_load_all(ROOT.joinpath(*path).read_text(encoding="utf-8")))


def test_seven_services_fit_into_the_server_of_compose() -> None:
    (compose,) = yaml_of("compose.yaml")
    options = compose["services"]["postgres"]["command"]
    limit = next(int(option.removeprefix("max_connections=")) for option in options if "max_connections" in option)
    assert _SERVICES * int(compose["x-environment"]["DATABASE_CONNECTIONS"]) + RESERVED <= limit


def test_seven_services_at_their_most_replicas_fit_into_the_server_of_the_cluster() -> None:
    (base,) = yaml_of("k8s", "base", "kustomization.yaml")
    settings = dict(literal.split("=", 1) for literal in base["configMapGenerator"][0]["literals"])
    scaler = next(one for one in yaml_of("k8s", "base", "service", "availability.yaml") if "maxReplicas" in one["spec"])
    (deployment,) = yaml_of("k8s", "base", "service", "deployment.yaml")
    replicas = scaler["spec"]["maxReplicas"] + deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert _SERVICES * replicas * int(settings["DATABASE_CONNECTIONS"]) + RESERVED <= _CLUSTER_LIMIT
    assert f"{_CLUSTER_LIMIT:,}" in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sweeps", "others", "share", "tasks"), [(1, 0, 0.25, 4), (5, 1, 0.25, 7), (8, 1, 0.5, 10), (3, 0, 0.5, 8)]
)
async def test_a_process_never_opens_more_than_its_share(
    identities: Identities, sweeps: int, others: int, share: float, tasks: int
) -> None:
    values = settings_values(identities, "svc_user", UNREACHABLE_DATABASE, database_connections=16)
    settings = ServiceSettings(**values)
    capacity = service_capacity(settings)
    made = service_databases(settings, capacity, sweeps=sweeps, others=others, tasks_share=share)
    assert [database.most_connections for database in made] == [16 - tasks, tasks]
    await capacity.close()


async def test_more_sweeps_than_the_pool_was_counted_for_are_refused(identities: Identities) -> None:
    settings = ServiceSettings(**settings_values(identities, "svc_user", UNREACHABLE_DATABASE))
    capacity = service_capacity(settings)
    _, database = service_databases(settings, capacity, sweeps=1)

    async def work() -> int:
        return 0

    sweeps = [Sweep(name, timedelta(hours=1), work) for name in ("one", "two")]
    with pytest.raises(ValueError, match="counted for 1 sweeps, and there are 2"):
        await run_sweeps(database, sweeps, asyncio.Event())
    await capacity.close()
