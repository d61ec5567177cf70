"""Hands the migrations of the area `models` to the environment that all services share."""

from svc_common import alembic_env

alembic_env.run("models")
