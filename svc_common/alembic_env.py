"""What every service's `store/migrations/env.py` runs: its migrations on the connection that `svc_common.migrations` opened."""

from alembic import context

from svc_common.roles import schema_of


def run(area: str) -> None:
    """Runs the pending migrations of a service, each in its own transaction, with the version table in the service's schema."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        version_table="alembic_version",
        version_table_schema=schema_of(area),
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
