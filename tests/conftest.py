"""Registers the harness: each plugin offers one real server, or what is needed to run one of ours, as fixtures.

Hypothesis has no deadline for an example: the machines are shared, and no test of ours judges by time.
"""

from hypothesis import settings

settings.register_profile("pingvas", deadline=None)
settings.load_profile("pingvas")

pytest_plugins = [
    "tests.harness_postgres",
    "tests.harness_redis",
    "tests.harness_s3",
    "tests.harness_service",
]
