"""Creates the tables of the ledger and of the tiers, closed to everything but the ledger's own functions.

Money lives in five tables. `accounts` holds one row an account: its counters, and the lock that every movement takes
first. `grants` holds credits given on the same terms, `holds` credits set aside for jobs. `transactions` and `entries`
are the journal: a transaction is one movement, an entry is what it did to one grant. Amounts are millicredits.

An entry has a column for each bucket that credits can be in, so that a CHECK can demand what double entry means: what
one bucket loses the others gain. `issued` is the source and never above zero. The entries of the transaction that
opened a hold, in order of `ordinal`, are the slices of that hold.
"""

from __future__ import annotations

from alembic import op

from svc_common.roles import grant_statements, migration_roles, rls_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# fillfactor leaves room on the page for the next version of a row, so that an update of a counter touches no index.
TABLES = (
    """
    CREATE TABLE payment.accounts (
        account_id uuid PRIMARY KEY,
        available bigint NOT NULL DEFAULT 0 CONSTRAINT accounts_available_check CHECK (available >= 0),
        held bigint NOT NULL DEFAULT 0 CONSTRAINT accounts_held_check CHECK (held >= 0),
        transaction_count bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    # `remaining` is in no index and in no index's predicate: spending from a grant stays a heap-only update. `sequence` is
    # the transaction that issued the grant; it decides between grants that are alike, as ids don't within a millisecond.
    """
    CREATE TABLE payment.grants (
        grant_id uuid PRIMARY KEY,
        account_id uuid NOT NULL REFERENCES payment.accounts,
        request_id text NOT NULL,
        kind text NOT NULL CONSTRAINT grants_kind_check CHECK (kind IN ('promotional', 'plan', 'purchased')),
        priority smallint NOT NULL,
        amount bigint NOT NULL CONSTRAINT grants_amount_check CHECK (amount > 0),
        remaining bigint NOT NULL CONSTRAINT grants_remaining_check CHECK (remaining BETWEEN 0 AND amount),
        expire_time timestamptz,
        lapsed boolean NOT NULL DEFAULT false,
        create_time timestamptz NOT NULL,
        sequence bigint NOT NULL,
        CONSTRAINT grants_request_key UNIQUE (account_id, request_id),
        CONSTRAINT grants_lapsed_check CHECK (NOT lapsed OR remaining = 0)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX grants_spending_order ON payment.grants (account_id, priority, expire_time, sequence)",
    "CREATE INDEX grants_to_lapse ON payment.grants (expire_time) WHERE NOT lapsed AND expire_time IS NOT NULL",
    """
    CREATE TABLE payment.transactions (
        account_id uuid NOT NULL REFERENCES payment.accounts,
        sequence bigint NOT NULL,
        transaction_id uuid NOT NULL,
        kind text NOT NULL CONSTRAINT transactions_kind_check
            CHECK (kind IN ('grant', 'reserve', 'settle', 'release', 'expire')),
        hold_id uuid,
        amount bigint NOT NULL,
        spent bigint NOT NULL DEFAULT 0 CONSTRAINT transactions_spent_check CHECK (spent >= 0),
        create_time timestamptz NOT NULL,
        PRIMARY KEY (account_id, sequence),
        CONSTRAINT transactions_hold_check CHECK ((hold_id IS NULL) = (kind IN ('grant', 'expire')))
    )
    """,
    # Whatever a function does, the database lets a hold be closed once.
    "CREATE UNIQUE INDEX transactions_close_key ON payment.transactions (hold_id) WHERE kind IN ('settle', 'release')",
    """
    CREATE TABLE payment.entries (
        account_id uuid NOT NULL,
        sequence bigint NOT NULL,
        ordinal smallint NOT NULL,
        grant_id uuid NOT NULL REFERENCES payment.grants,
        issued bigint NOT NULL DEFAULT 0 CONSTRAINT entries_issued_check CHECK (issued <= 0),
        available bigint NOT NULL DEFAULT 0,
        held bigint NOT NULL DEFAULT 0,
        spent bigint NOT NULL DEFAULT 0 CONSTRAINT entries_spent_check CHECK (spent >= 0),
        expired bigint NOT NULL DEFAULT 0 CONSTRAINT entries_expired_check CHECK (expired >= 0),
        PRIMARY KEY (account_id, sequence, ordinal),
        FOREIGN KEY (account_id, sequence) REFERENCES payment.transactions,
        CONSTRAINT entries_balance_check CHECK (issued + available + held + spent + expired = 0)
    )
    """,
    """
    CREATE TABLE payment.holds (
        hold_id uuid PRIMARY KEY,
        account_id uuid NOT NULL REFERENCES payment.accounts,
        requested bigint NOT NULL,
        minimum bigint NOT NULL,
        lifetime interval NOT NULL,
        amount bigint NOT NULL CONSTRAINT holds_amount_check
            CHECK (amount BETWEEN minimum AND requested AND amount > 0),
        settled bigint NOT NULL DEFAULT 0 CONSTRAINT holds_settled_check CHECK (settled BETWEEN 0 AND amount),
        state text NOT NULL DEFAULT 'held' CONSTRAINT holds_state_check
            CHECK (state IN ('held', 'settled', 'released')),
        reserve_sequence bigint NOT NULL,
        close_sequence bigint,
        expire_time timestamptz NOT NULL,
        CONSTRAINT holds_closed_check CHECK ((state = 'held') = (close_sequence IS NULL)),
        CONSTRAINT holds_spent_check CHECK ((state = 'settled') = (settled > 0))
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX holds_to_release ON payment.holds (expire_time) WHERE state = 'held'",
    """
    CREATE TABLE payment.tiers (
        tier text PRIMARY KEY,
        running_jobs integer NOT NULL,
        waiting_jobs integer NOT NULL,
        model_families text[] NOT NULL,
        largest_side_px integer NOT NULL,
        images_per_job integer NOT NULL,
        step_count integer NOT NULL,
        storage_bytes bigint NOT NULL,
        requests_per_second integer NOT NULL,
        request_burst integer NOT NULL
    )
    """,
    """
    CREATE TABLE payment.entitlements (
        account_id uuid PRIMARY KEY,
        tier text NOT NULL REFERENCES payment.tiers
    )
    """,
)

# The trigger holds for the owner and for a superuser too, whom revoked privileges don't stop.
APPEND_ONLY = (
    """
    CREATE FUNCTION payment.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the journal is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.transactions
        FOR EACH STATEMENT EXECUTE FUNCTION payment.refuse_change()
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.entries
        FOR EACH STATEMENT EXECUTE FUNCTION payment.refuse_change()
    """,
)

LEDGER_TABLES = ("accounts", "grants", "transactions", "entries", "holds")


def upgrade() -> None:
    """Creates the tables, their triggers, and who may do what with them."""
    roles = migration_roles(op)
    for statement in (*TABLES, *APPEND_ONLY):
        op.execute(statement)
    for table in LEDGER_TABLES:
        # Reading only: the functions, which run as the owner, write. The owner needs a policy of its own, as the
        # security is forced.
        for statement in rls_statements("payment", table, roles.requests, roles.tasks, privileges=["SELECT"]):
            op.execute(statement)
        op.execute(f"CREATE POLICY ledger_functions ON payment.{table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    for statement in (
        *rls_statements("payment", "entitlements", roles.requests, roles.tasks),
        *grant_statements("payment", "tiers", roles.requests, roles.tasks, privileges=["SELECT"]),
    ):
        op.execute(statement)


def downgrade() -> None:
    """Refuses: dropping the journal would lose what every account owns."""
    message = "the ledger is never dropped; restore a backup instead"
    raise RuntimeError(message)
