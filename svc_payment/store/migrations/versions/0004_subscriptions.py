"""Creates what is sold, what was bought, and the inbox of the payment providers' reports.

A subscription or an invoice belongs to a provider, so the provider is a part of every key: two may be in use at the same
time, as subscriptions can't be carried from one to another. What the rows mean is decided by svc_payment.domain.billing.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files

import sqlalchemy as sa
from alembic import op

from svc_common.roles import grant_statements, migration_roles, rls_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE payment.plans (
        plan_id text PRIMARY KEY,
        position integer NOT NULL UNIQUE,
        tier text NOT NULL REFERENCES payment.tiers,
        price_cents integer CONSTRAINT plans_price_check CHECK (price_cents >= 0),
        credits bigint NOT NULL CONSTRAINT plans_credits_check CHECK (credits >= 0)
    )
    """,
    """
    CREATE TABLE payment.packs (
        pack_id text PRIMARY KEY,
        position integer NOT NULL UNIQUE,
        price_cents integer NOT NULL CONSTRAINT packs_price_check CHECK (price_cents > 0),
        credits bigint NOT NULL CONSTRAINT packs_credits_check CHECK (credits > 0)
    )
    """,
    # The reference goes to the provider and comes back with its reports. It is random, so that nobody can name another
    # account's, and it is the only thing of theirs by which a payment finds its account.
    """
    CREATE TABLE payment.checkouts (
        reference text PRIMARY KEY,
        checkout_id uuid NOT NULL UNIQUE,
        account_id uuid NOT NULL,
        request_id text,
        provider text NOT NULL,
        item_kind text NOT NULL CONSTRAINT checkouts_item_check CHECK (item_kind IN ('plan', 'pack')),
        item_id text NOT NULL,
        url text NOT NULL,
        create_time timestamptz NOT NULL,
        expire_time timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX checkouts_request ON payment.checkouts (account_id, request_id) WHERE request_id IS NOT NULL",
    """
    CREATE TABLE payment.subscriptions (
        provider text NOT NULL,
        subscription_id text NOT NULL,
        account_id uuid NOT NULL,
        plan_id text,
        status text NOT NULL,
        update_time timestamptz NOT NULL,
        renew_time timestamptz,
        end_time timestamptz,
        failure_time timestamptz,
        paid_time timestamptz,
        next_plan_id text,
        PRIMARY KEY (provider, subscription_id)
    )
    """,
    "CREATE INDEX subscriptions_of_account ON payment.subscriptions (account_id)",
    "CREATE INDEX subscriptions_to_move ON payment.subscriptions (renew_time) WHERE next_plan_id IS NOT NULL",
    """
    CREATE TABLE payment.invoices (
        provider text NOT NULL,
        invoice_id text NOT NULL,
        account_id uuid NOT NULL,
        subscription_id text,
        item_id text,
        reason text NOT NULL,
        amount_cents integer NOT NULL,
        currency text NOT NULL,
        issue_time timestamptz NOT NULL,
        refunded_cents integer NOT NULL,
        credits bigint,
        revoked_cents integer NOT NULL,
        PRIMARY KEY (provider, invoice_id)
    )
    """,
    "CREATE INDEX invoices_of_account ON payment.invoices (account_id, issue_time, provider, invoice_id)",
    # A report is kept as it came, before anything is made of it. The hash recognises a repetition; what is in the report
    # can't, since addresses in it are signed anew for each delivery.
    """
    CREATE TABLE payment.webhook_inbox (
        delivery_id uuid PRIMARY KEY,
        provider text NOT NULL,
        sha256 bytea NOT NULL,
        name text NOT NULL,
        body bytea NOT NULL,
        receive_time timestamptz NOT NULL,
        state text NOT NULL DEFAULT 'new' CONSTRAINT webhook_inbox_state_check
            CHECK (state IN ('new', 'applied', 'ignored', 'orphaned', 'dead')),
        attempts integer NOT NULL DEFAULT 0,
        next_time timestamptz NOT NULL,
        error text,
        CONSTRAINT webhook_inbox_body_key UNIQUE (provider, sha256)
    )
    """,
    "CREATE INDEX webhook_inbox_due ON payment.webhook_inbox (next_time) WHERE state = 'new'",
    "CREATE INDEX webhook_inbox_done ON payment.webhook_inbox (receive_time) WHERE state IN ('applied', 'ignored')",
)

PLANS = sa.table(
    "plans",
    sa.column("plan_id", sa.Text),
    sa.column("position", sa.Integer),
    sa.column("tier", sa.Text),
    sa.column("price_cents", sa.Integer),
    sa.column("credits", sa.BigInteger),
    schema="payment",
)
PACKS = sa.table(
    "packs",
    sa.column("pack_id", sa.Text),
    sa.column("position", sa.Integer),
    sa.column("price_cents", sa.Integer),
    sa.column("credits", sa.BigInteger),
    schema="payment",
)
_MILLICREDITS = 1000


def upgrade() -> None:
    """Creates the tables, fills what is sold, and says who may do what."""
    roles = migration_roles(op)
    for statement in TABLES:
        op.execute(statement)
    sold = tomllib.loads(files("svc_payment").joinpath("plans.toml").read_text(encoding="utf-8"))
    op.bulk_insert(
        PLANS,
        [
            {
                "plan_id": plan_id,
                "position": position,
                "tier": plan["tier"],
                "price_cents": plan.get("price_cents"),
                "credits": plan["credits"] * _MILLICREDITS,
            }
            for position, (plan_id, plan) in enumerate(sold["plans"].items())
        ],
    )
    op.bulk_insert(
        PACKS,
        [
            {
                "pack_id": pack_id,
                "position": position,
                "price_cents": pack["price_cents"],
                "credits": pack["credits"] * _MILLICREDITS,
            }
            for position, (pack_id, pack) in enumerate(sold["packs"].items())
        ],
    )
    for statement in (
        *grant_statements("payment", "plans", roles.requests, roles.tasks, privileges=["SELECT"]),
        *grant_statements("payment", "packs", roles.requests, roles.tasks, privileges=["SELECT"]),
        *rls_statements("payment", "checkouts", roles.requests, roles.tasks, privileges=["SELECT", "INSERT"]),
        # Requests read them. What a report changes is written by the tasks, whoever caused it.
        *rls_statements("payment", "subscriptions", roles.requests, roles.tasks, privileges=["SELECT"]),
        *rls_statements("payment", "invoices", roles.requests, roles.tasks, privileges=["SELECT"]),
        f"GRANT INSERT, UPDATE ON payment.subscriptions, payment.invoices TO {roles.tasks}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON payment.webhook_inbox TO {roles.tasks}",
    ):
        op.execute(statement)


def downgrade() -> None:
    """Refuses: dropping the tables would lose what people have paid for."""
    message = "what was bought is never dropped; restore a backup instead"
    raise RuntimeError(message)
