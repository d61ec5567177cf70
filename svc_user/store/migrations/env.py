"""Runs the migrations of svc_user; the work is in svc_common."""

from svc_common.alembic_env import run

run("user")
