"""Registers the harness: each plugin offers one real server, or what is needed to run one of ours, as fixtures."""

pytest_plugins = [
    "tests.harness_postgres",
    "tests.harness_redis",
    "tests.harness_s3",
    "tests.harness_service",
]
