"""Runs the migrations of the schema `payment`; started by svc_common.migrations."""

from svc_common.alembic_env import run

run("payment")
