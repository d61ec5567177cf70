"""Registers the harness: each plugin offers one real server, or what is needed to run one of ours, as fixtures.

Hypothesis has no deadline for an example: the machines are shared, and no test of ours judges by time.
"""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("pingvas", deadline=None)
settings.load_profile("pingvas")

pytest_plugins = [
    "tests.harness_disk",
    "tests.harness_postgres",
    "tests.harness_redis",
    "tests.harness_s3",
    "tests.harness_mail",
    "tests.harness_service",
]


@pytest.fixture(autouse=True)
def _floating_point_as_it_was() -> Iterator[None]:
    """Training sets the processor's flag that makes tiny numbers zero for its whole process; here that is every test's."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)
