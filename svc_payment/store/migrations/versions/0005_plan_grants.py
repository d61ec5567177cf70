"""Lets the ledger replace a plan's credits at each payment, and take credits back whose payment was refunded.

Credits that were spent can't be taken back: the rest of a refund is a debt, which the next grant pays. A row of
`clawbacks` is one step of a refund; what it has yet to recover is that debt. Credits that are taken back go to a bucket
of their own, `revoked`, so that the journal tells them from those that lapsed.
"""

from __future__ import annotations

from alembic import op

from svc_common.roles import migration_roles, rls_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The new checks are validated in a second statement, which doesn't lock out whoever writes meanwhile.
TABLES = (
    """
    ALTER TABLE payment.entries
        ADD COLUMN revoked bigint NOT NULL DEFAULT 0,
        ADD CONSTRAINT entries_revoked_check CHECK (revoked >= 0) NOT VALID,
        DROP CONSTRAINT entries_balance_check,
        ADD CONSTRAINT entries_balance_check
            CHECK (issued + available + held + spent + expired + revoked = 0) NOT VALID
    """,
    "ALTER TABLE payment.entries VALIDATE CONSTRAINT entries_revoked_check",
    "ALTER TABLE payment.entries VALIDATE CONSTRAINT entries_balance_check",
    """
    ALTER TABLE payment.transactions
        DROP CONSTRAINT transactions_kind_check,
        ADD CONSTRAINT transactions_kind_check
            CHECK (kind IN ('grant', 'reserve', 'settle', 'release', 'expire', 'revoke')) NOT VALID,
        DROP CONSTRAINT transactions_hold_check,
        ADD CONSTRAINT transactions_hold_check
            CHECK ((hold_id IS NULL) = (kind IN ('grant', 'expire', 'revoke'))) NOT VALID
    """,
    "ALTER TABLE payment.transactions VALIDATE CONSTRAINT transactions_kind_check",
    "ALTER TABLE payment.transactions VALIDATE CONSTRAINT transactions_hold_check",
    """
    CREATE TABLE payment.clawbacks (
        account_id uuid NOT NULL REFERENCES payment.accounts,
        ordinal bigint GENERATED ALWAYS AS IDENTITY,
        grant_id uuid NOT NULL REFERENCES payment.grants,
        amount bigint NOT NULL CONSTRAINT clawbacks_amount_check CHECK (amount > 0),
        recovered bigint NOT NULL CONSTRAINT clawbacks_recovered_check CHECK (recovered BETWEEN 0 AND amount),
        create_time timestamptz NOT NULL,
        PRIMARY KEY (account_id, ordinal)
    )
    """,
    "CREATE INDEX clawbacks_of_grant ON payment.clawbacks (grant_id)",
)

# Takes back what it can of p_amount: first from one grant, then from the others in their order of spending. The caller
# holds the account's lock.
TAKE_BACK = """
CREATE FUNCTION payment.take_back(p_account_id uuid, p_grant_id uuid, p_amount bigint, p_now timestamptz)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slice record;
    v_rest bigint;
    v_take bigint;
    v_total bigint;
    v_ordinal smallint := 0;
    v_sequence bigint;
BEGIN
    SELECT least(available, p_amount) INTO v_total FROM payment.accounts WHERE account_id = p_account_id;
    IF v_total = 0 THEN
        RETURN 0;
    END IF;
    v_rest := v_total;
    v_sequence := payment.record_transaction(p_account_id, 'revoke', NULL, -v_total, 0, 0, p_now);
    FOR slice IN
        SELECT grant_id, remaining FROM payment.grants WHERE account_id = p_account_id AND remaining > 0
        ORDER BY grant_id IS DISTINCT FROM p_grant_id, priority, expire_time, sequence
    LOOP
        v_take := least(v_rest, slice.remaining);
        v_rest := v_rest - v_take;
        v_ordinal := v_ordinal + 1;
        UPDATE payment.grants SET remaining = remaining - v_take WHERE grant_id = slice.grant_id;
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, revoked)
            VALUES (p_account_id, v_sequence, v_ordinal, slice.grant_id, -v_take, v_take);
        EXIT WHEN v_rest = 0;
    END LOOP;
    RETURN v_total;
END $$
"""

# Pays debts, the oldest first, with what is available. The caller holds the account's lock.
COLLECT_DEBTS = """
CREATE FUNCTION payment.collect_debts(p_account_id uuid, p_now timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_debt bigint;
    v_taken bigint;
BEGIN
    SELECT sum(amount - recovered) INTO v_debt FROM payment.clawbacks
        WHERE account_id = p_account_id AND recovered < amount;
    IF v_debt IS NULL THEN
        RETURN;
    END IF;
    v_taken := payment.take_back(p_account_id, NULL, v_debt, p_now);
    UPDATE payment.clawbacks SET recovered = recovered + due.paid
        FROM (
            SELECT ordinal, greatest(0, least(amount - recovered, v_taken - (sum(amount - recovered)
                OVER (ORDER BY ordinal) - (amount - recovered))))::bigint AS paid
            FROM payment.clawbacks WHERE account_id = p_account_id AND recovered < amount
        ) AS due
        WHERE clawbacks.account_id = p_account_id AND clawbacks.ordinal = due.ordinal AND due.paid > 0;
END $$
"""

# The caller holds the account's lock and knows that the request id is new.
ISSUE_GRANT = """
CREATE FUNCTION payment.issue_grant(
    p_account_id uuid, p_request_id text, p_kind text, p_priority smallint, p_amount bigint, p_expire_time timestamptz,
    p_now timestamptz
) RETURNS uuid LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_grant_id uuid := payment.new_id(p_now);
    v_sequence bigint;
BEGIN
    v_sequence := payment.record_transaction(p_account_id, 'grant', NULL, p_amount, 0, 0, p_now);
    INSERT INTO payment.grants
        (grant_id, account_id, request_id, kind, priority, amount, remaining, expire_time, create_time, sequence)
        VALUES (v_grant_id, p_account_id, p_request_id, p_kind, p_priority, p_amount, p_amount, p_expire_time, p_now,
                v_sequence);
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, issued, available)
        VALUES (p_account_id, v_sequence, 1, v_grant_id, -p_amount, p_amount);
    RETURN v_grant_id;
END $$
"""

# As in 0002, and the new credits pay what is owed.
GRANT_CREDITS = """
CREATE OR REPLACE FUNCTION payment.grant_credits(
    p_account_id uuid, p_request_id text, p_kind text, p_priority smallint, p_amount bigint, p_expire_time timestamptz
) RETURNS TABLE (grant_id uuid, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_grant payment.grants;
    v_grant_id uuid;
BEGIN
    INSERT INTO payment.accounts (account_id) VALUES (p_account_id) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    PERFORM payment.lapse_grants(p_account_id, v_now);
    SELECT * INTO v_grant FROM payment.grants WHERE account_id = p_account_id AND request_id = p_request_id;
    IF FOUND THEN
        RETURN QUERY SELECT v_grant.grant_id, CASE WHEN (v_grant.kind, v_grant.amount, v_grant.expire_time)
            IS NOT DISTINCT FROM (p_kind, p_amount, p_expire_time) THEN 'replayed' ELSE 'conflict' END;
        RETURN;
    END IF;
    v_grant_id := payment.issue_grant(
        p_account_id, p_request_id, p_kind, p_priority, p_amount, p_expire_time, v_now);
    PERFORM payment.collect_debts(p_account_id, v_now);
    RETURN QUERY SELECT v_grant_id, 'granted';
END $$
"""

# Grants of the months that p_replaces names lapse at once. What runs keeps what it holds of them; the rest of that
# lapses with the grant when the hold is closed. With p_keeps_spending, what was spent or is held of them is taken off the
# new grant. outcome: granted | replayed | conflict.
GRANT_PLAN_CREDITS = """
CREATE FUNCTION payment.grant_plan_credits(
    p_account_id uuid, p_request_id text, p_priority smallint, p_amount bigint, p_replaces text[],
    p_keeps_spending boolean, p_is_superseded boolean
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_grant payment.grants;
    v_grant_id uuid;
    v_spent bigint := 0;
    v_sequence bigint;
BEGIN
    INSERT INTO payment.accounts (account_id) VALUES (p_account_id) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    PERFORM payment.lapse_grants(p_account_id, v_now);
    SELECT * INTO v_grant FROM payment.grants WHERE account_id = p_account_id AND request_id = p_request_id;
    IF FOUND THEN
        RETURN CASE WHEN (v_grant.kind, v_grant.amount) = ('plan', p_amount) THEN 'replayed' ELSE 'conflict' END;
    END IF;
    IF NOT p_is_superseded THEN
        IF p_keeps_spending THEN
            SELECT coalesce(sum(amount - remaining - (
                SELECT coalesce(sum(revoked), 0) FROM payment.entries
                WHERE entries.account_id = p_account_id AND entries.grant_id = grants.grant_id
            )), 0) INTO v_spent FROM payment.grants
                WHERE account_id = p_account_id AND request_id = ANY (p_replaces) AND NOT lapsed;
        END IF;
        UPDATE payment.grants SET expire_time = v_now
            WHERE account_id = p_account_id AND request_id = ANY (p_replaces) AND NOT lapsed;
        PERFORM payment.lapse_grants(p_account_id, v_now);
    END IF;
    v_grant_id := payment.issue_grant(p_account_id, p_request_id, 'plan', p_priority, p_amount,
        CASE WHEN p_is_superseded THEN v_now END, v_now);
    PERFORM payment.lapse_grants(p_account_id, v_now);
    v_spent := least(v_spent, p_amount);
    IF v_spent > 0 THEN
        v_sequence := payment.record_transaction(p_account_id, 'expire', NULL, -v_spent, 0, 0, v_now);
        UPDATE payment.grants SET remaining = remaining - v_spent WHERE grant_id = v_grant_id;
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, expired)
            VALUES (p_account_id, v_sequence, 1, v_grant_id, -v_spent, v_spent);
    END IF;
    PERFORM payment.collect_debts(p_account_id, v_now);
    RETURN 'granted';
END $$
"""

END_GRANTS = """
CREATE FUNCTION payment.end_grants(p_account_id uuid, p_request_ids text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    UPDATE payment.grants SET expire_time = v_now
        WHERE account_id = p_account_id AND request_id = ANY (p_request_ids) AND NOT lapsed;
    PERFORM payment.lapse_grants(p_account_id, v_now);
END $$
"""

# p_target is what the refunds so far take back of the grant in all, so a repetition takes nothing more. What lapsed
# unspent brought nobody anything, and isn't asked for again.
REVOKE_GRANT = """
CREATE FUNCTION payment.revoke_grant(p_account_id uuid, p_request_id text, p_target bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_grant payment.grants;
    v_lapsed bigint;
    v_asked bigint;
    v_amount bigint;
BEGIN
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    PERFORM payment.lapse_grants(p_account_id, v_now);
    SELECT * INTO STRICT v_grant FROM payment.grants WHERE account_id = p_account_id AND request_id = p_request_id;
    SELECT coalesce(sum(expired), 0) INTO v_lapsed FROM payment.entries
        WHERE account_id = p_account_id AND grant_id = v_grant.grant_id;
    SELECT coalesce(sum(amount), 0) INTO v_asked FROM payment.clawbacks WHERE grant_id = v_grant.grant_id;
    v_amount := least(p_target, v_grant.amount - v_lapsed) - v_asked;
    IF v_amount > 0 THEN
        INSERT INTO payment.clawbacks (account_id, grant_id, amount, recovered, create_time)
            VALUES (p_account_id, v_grant.grant_id, v_amount,
                    payment.take_back(p_account_id, v_grant.grant_id, v_amount, v_now), v_now);
    END IF;
END $$
"""

FUNCTIONS = (
    TAKE_BACK,
    COLLECT_DEBTS,
    ISSUE_GRANT,
    GRANT_CREDITS,
    GRANT_PLAN_CREDITS,
    END_GRANTS,
    REVOKE_GRANT,
)

FOR_TASKS = (
    "payment.grant_credits(uuid, text, text, smallint, bigint, timestamptz)",
    "payment.grant_plan_credits(uuid, text, smallint, bigint, text[], boolean, boolean)",
    "payment.end_grants(uuid, text[])",
    "payment.revoke_grant(uuid, text, bigint)",
)


def upgrade() -> None:
    """Extends the journal and creates the functions, which only the tasks execute: what was paid is applied by them."""
    roles = migration_roles(op)
    for statement in (*TABLES, *FUNCTIONS):
        op.execute(statement)
    for statement in rls_statements("payment", "clawbacks", roles.requests, roles.tasks, privileges=["SELECT"]):
        op.execute(statement)
    op.execute("CREATE POLICY ledger_functions ON payment.clawbacks TO CURRENT_USER USING (true) WITH CHECK (true)")
    for name in ("take_back", "collect_debts", "issue_grant", "grant_plan_credits", "end_grants", "revoke_grant"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION payment.{name} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {', '.join(FOR_TASKS)} TO {roles.tasks}")


def downgrade() -> None:
    """Refuses: the journal may hold entries that the older functions can't explain."""
    message = "the ledger's functions are replaced by a later migration, never dropped"
    raise RuntimeError(message)
