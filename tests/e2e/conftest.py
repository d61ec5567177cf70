"""Two fleets for the suite: one on which nothing goes wrong but what prompts ask for, one whose parts are killed."""

from collections.abc import Iterator

import pytest

from tests.e2e.stage import FleetPlan, Stage, running_stage


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet with one worker, whose processes no test touches."""
    with running_stage(tmp_path_factory.mktemp("calm"), FleetPlan()) as stage:
        yield stage


@pytest.fixture(scope="session")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet with two workers, whose processes are killed and frozen; each test leaves it whole."""
    with running_stage(tmp_path_factory.mktemp("shaken"), FleetPlan(workers=2, grace_seconds=2.0)) as stage:
        yield stage


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the longer fault runs to those who ask for them by their marker."""
    if "soak" in config.option.markexpr:
        return
    asked_for_later = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=asked_for_later)
    items[:] = [item for item in items if item not in asked_for_later]
