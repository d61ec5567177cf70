"""One fleet for all cases, which draws with the real pipeline."""

from collections.abc import Iterator

import pytest

from tests.e2e.stage import FleetPlan, Stage, running_stage


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet whose worker draws for real; no case touches its processes."""
    with running_stage(tmp_path_factory.mktemp("studio"), FleetPlan(draws_for_real=True)) as stage:
        yield stage
