"""Creates the functions that move credits: the only code that writes to the ledger.

They are in the database because a movement must lock, look and write several rows, and as one call it costs one round
trip while the account is locked. They run as their owner (SECURITY DEFINER, with a fixed search path), and the service
may execute them but not write to a table: no bug in the service can make a balance and the journal disagree.

Each one locks the account's row before it reads anything else, and several accounts in ascending order, so two of them
can never wait for each other. READ COMMITTED gives every statement a new snapshot, hence what is read after the lock is
what the last movement left. Amounts are millicredits.
"""

from __future__ import annotations

from alembic import op

from svc_common.roles import migration_roles

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The one clock of the ledger: the database's, so that a server whose clock is off neither lapses nor keeps anything
# early. It isn't now(), which stands still while a movement waits for the lock. Tests replace this function to move
# time.
LEDGER_NOW = """
CREATE FUNCTION payment.ledger_now() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() $$
"""

# RFC 9562: 48 bits of Unix milliseconds, then random bits; setting two bits turns the version of a random UUID from 4
# to 7. PostgreSQL has uuidv7() of its own only since 18.
NEW_ID = """
CREATE FUNCTION payment.new_id(p_now timestamptz) RETURNS uuid
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM p_now) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$
"""

# Counters change only here, in the same breath as the journal. The numbers of an account's transactions have no gap, so
# the audit notices one that was removed, and their order is the order of the movements whatever the clock did.
RECORD_TRANSACTION = """
CREATE FUNCTION payment.record_transaction(
    p_account_id uuid, p_kind text, p_hold_id uuid, p_available bigint, p_held bigint, p_spent bigint, p_now timestamptz
) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_sequence bigint;
BEGIN
    UPDATE payment.accounts
        SET available = available + p_available, held = held + p_held, transaction_count = transaction_count + 1
        WHERE account_id = p_account_id
        RETURNING transaction_count INTO STRICT v_sequence;
    INSERT INTO payment.transactions (account_id, sequence, transaction_id, kind, hold_id, amount, spent, create_time)
        VALUES (p_account_id, v_sequence, payment.new_id(p_now), p_kind, p_hold_id, p_available, p_spent, p_now);
    RETURN v_sequence;
END $$
"""

# The caller holds the account's lock. Every movement begins with it, which makes `available` exact at that instant.
LAPSE_GRANTS = """
CREATE FUNCTION payment.lapse_grants(p_account_id uuid, p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_grants uuid[];
    v_rests bigint[];
    v_total bigint;
    v_sequence bigint;
BEGIN
    SELECT array_agg(grant_id ORDER BY priority, expire_time, sequence),
           array_agg(remaining ORDER BY priority, expire_time, sequence), sum(remaining)
        INTO v_grants, v_rests, v_total
        FROM payment.grants WHERE account_id = p_account_id AND NOT lapsed AND expire_time <= p_now;
    IF v_grants IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE payment.grants SET remaining = 0, lapsed = true WHERE grant_id = ANY (v_grants);
    IF v_total > 0 THEN
        v_sequence := payment.record_transaction(p_account_id, 'expire', NULL, -v_total, 0, 0, p_now);
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, expired)
            SELECT p_account_id, v_sequence, row_number() OVER (ORDER BY number), grant_id, -rest, rest
            FROM unnest(v_grants, v_rests) WITH ORDINALITY AS due (grant_id, rest, number) WHERE rest > 0;
    END IF;
    RETURN v_total;
END $$
"""

# outcome: granted | replayed | conflict; the grant is the one with that request id.
GRANT_CREDITS = """
CREATE FUNCTION payment.grant_credits(
    p_account_id uuid, p_request_id text, p_kind text, p_priority smallint, p_amount bigint, p_expire_time timestamptz
) RETURNS TABLE (grant_id uuid, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_grant payment.grants;
    v_sequence bigint;
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
    v_sequence := payment.record_transaction(p_account_id, 'grant', NULL, p_amount, 0, 0, v_now);
    INSERT INTO payment.grants
        (grant_id, account_id, request_id, kind, priority, amount, remaining, expire_time, create_time, sequence)
        VALUES (payment.new_id(v_now), p_account_id, p_request_id, p_kind, p_priority, p_amount, p_amount,
                p_expire_time, v_now, v_sequence)
        RETURNING * INTO v_grant;
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, issued, available)
        VALUES (p_account_id, v_sequence, 1, v_grant.grant_id, -p_amount, p_amount);
    RETURN QUERY SELECT v_grant.grant_id, 'granted';
END $$
"""

# outcome: held | replayed | conflict | insufficient, one for each item, and no item makes another fail. `balance` is
# what was available before it. Many items in one call share one commit.
RESERVE_CREDITS = """
CREATE FUNCTION payment.reserve_credits(
    p_account_ids uuid[], p_hold_ids uuid[], p_requested bigint[], p_minimums bigint[], p_lifetimes interval[]
) RETURNS TABLE (
    number bigint, outcome text, balance bigint, state text, amount bigint, settled bigint, expire_time timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    item record;
    v_hold payment.holds;
    v_now timestamptz;
BEGIN
    FOR item IN
        SELECT * FROM unnest(p_account_ids, p_hold_ids, p_requested, p_minimums, p_lifetimes)
            WITH ORDINALITY AS items (account_id, hold_id, requested, minimum, lifetime, number)
        ORDER BY account_id, number
    LOOP
        number := item.number;
        SELECT available INTO balance FROM payment.accounts WHERE account_id = item.account_id FOR NO KEY UPDATE;
        v_now := payment.ledger_now();
        SELECT * INTO v_hold FROM payment.holds WHERE hold_id = item.hold_id;
        IF FOUND THEN
            outcome := CASE WHEN (v_hold.account_id, v_hold.requested, v_hold.minimum, v_hold.lifetime)
                = (item.account_id, item.requested, item.minimum, item.lifetime) THEN 'replayed' ELSE 'conflict' END;
        ELSE
            balance := coalesce(balance, 0) - payment.lapse_grants(item.account_id, v_now);
            IF least(item.requested, balance) < item.minimum THEN
                outcome := 'insufficient';
            ELSE
                outcome := 'held';
                v_hold := payment.open_hold(item.account_id, item.hold_id, item.requested, item.minimum, item.lifetime,
                                            least(item.requested, balance), v_now);
            END IF;
        END IF;
        state := v_hold.state;
        amount := v_hold.amount;
        settled := v_hold.settled;
        expire_time := v_hold.expire_time;
        RETURN NEXT;
    END LOOP;
END $$
"""

# The caller holds the account's lock and knows that the balance covers the amount.
OPEN_HOLD = """
CREATE FUNCTION payment.open_hold(
    p_account_id uuid, p_hold_id uuid, p_requested bigint, p_minimum bigint, p_lifetime interval, p_amount bigint,
    p_now timestamptz
) RETURNS payment.holds LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slice record;
    v_hold payment.holds;
    v_rest bigint := p_amount;
    v_take bigint;
    v_ordinal smallint := 0;
    v_sequence bigint;
BEGIN
    v_sequence := payment.record_transaction(p_account_id, 'reserve', p_hold_id, -p_amount, p_amount, 0, p_now);
    FOR slice IN
        SELECT grant_id, remaining FROM payment.grants WHERE account_id = p_account_id AND remaining > 0
        ORDER BY priority, expire_time, sequence
    LOOP
        v_take := least(v_rest, slice.remaining);
        v_rest := v_rest - v_take;
        v_ordinal := v_ordinal + 1;
        UPDATE payment.grants SET remaining = remaining - v_take WHERE grant_id = slice.grant_id;
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, held)
            VALUES (p_account_id, v_sequence, v_ordinal, slice.grant_id, -v_take, v_take);
        EXIT WHEN v_rest = 0;
    END LOOP;
    IF v_rest > 0 THEN
        RAISE EXCEPTION 'the grants of account % are % below its balance', p_account_id, v_rest
            USING ERRCODE = 'data_corrupted';
    END IF;
    INSERT INTO payment.holds
        (hold_id, account_id, requested, minimum, lifetime, amount, reserve_sequence, expire_time)
        VALUES (p_hold_id, p_account_id, p_requested, p_minimum, p_lifetime, p_amount, v_sequence, p_now + p_lifetime)
        RETURNING * INTO v_hold;
    RETURN v_hold;
END $$
"""

# Slices are used up in the order in which they were taken, so what goes back comes from the last of them. Credits whose
# grant lapsed meanwhile lapse with it: a long job doesn't launder them.
CLOSING_SLICES = """
CREATE FUNCTION payment.closing_slices(p_account_id uuid, p_reserve_sequence bigint, p_used bigint)
RETURNS TABLE (ordinal smallint, grant_id uuid, held bigint, spent bigint, returned bigint, expired bigint)
LANGUAGE sql STABLE AS $$
    SELECT ordinal, grant_id, held, spent,
        CASE WHEN lapsed THEN 0 ELSE held - spent END, CASE WHEN lapsed THEN held - spent ELSE 0 END
    FROM (
        SELECT e.ordinal, e.grant_id, e.held, g.lapsed,
            least(e.held, greatest(0, p_used - (sum(e.held) OVER (ORDER BY e.ordinal) - e.held)))::bigint AS spent
        FROM payment.entries e JOIN payment.grants g ON g.grant_id = e.grant_id
        WHERE e.account_id = p_account_id AND e.sequence = p_reserve_sequence
    ) AS slices
$$
"""

# p_used 0 releases the hold. outcome: closed | replayed | conflict | missing.
CLOSE_HOLD = """
CREATE FUNCTION payment.close_hold(p_account_id uuid, p_hold_id uuid, p_used bigint)
RETURNS TABLE (outcome text, state text, amount bigint, settled bigint, expire_time timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_hold payment.holds;
    v_now timestamptz;
    v_used bigint;
    v_returned bigint;
    v_sequence bigint;
BEGIN
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    SELECT * INTO v_hold FROM payment.holds WHERE hold_id = p_hold_id AND account_id = p_account_id;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'missing', NULL::text, NULL::bigint, NULL::bigint, NULL::timestamptz;
        RETURN;
    END IF;
    v_used := least(p_used, v_hold.amount);
    IF v_hold.state <> 'held' THEN
        RETURN QUERY SELECT CASE WHEN v_hold.settled = v_used THEN 'replayed' ELSE 'conflict' END,
            v_hold.state, v_hold.amount, v_hold.settled, v_hold.expire_time;
        RETURN;
    END IF;
    PERFORM payment.lapse_grants(p_account_id, v_now);
    SELECT sum(returned) INTO v_returned
        FROM payment.closing_slices(p_account_id, v_hold.reserve_sequence, v_used);
    v_sequence := payment.record_transaction(p_account_id, CASE WHEN v_used > 0 THEN 'settle' ELSE 'release' END,
        p_hold_id, v_returned, -v_hold.amount, v_used, v_now);
    WITH posted AS (
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, held, spent, available, expired)
            SELECT p_account_id, v_sequence, ordinal, grant_id, -held, spent, returned, expired
            FROM payment.closing_slices(p_account_id, v_hold.reserve_sequence, v_used)
            RETURNING grant_id, available
    )
    UPDATE payment.grants SET remaining = grants.remaining + posted.available
        FROM posted WHERE grants.grant_id = posted.grant_id AND posted.available > 0;
    UPDATE payment.holds
        SET state = CASE WHEN v_used > 0 THEN 'settled' ELSE 'released' END, settled = v_used,
            close_sequence = v_sequence
        WHERE hold_id = p_hold_id RETURNING * INTO v_hold;
    RETURN QUERY SELECT 'closed', v_hold.state, v_hold.amount, v_hold.settled, v_hold.expire_time;
END $$
"""

# Both sweeps look without a lock and let the movement itself look again under it: who closes a hold meanwhile wins.
RELEASE_EXPIRED_HOLDS = """
CREATE FUNCTION payment.release_expired_holds(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due record;
    v_outcome text;
    v_released bigint := 0;
BEGIN
    FOR due IN
        SELECT account_id, hold_id FROM (
            SELECT account_id, hold_id FROM payment.holds
            WHERE state = 'held' AND expire_time <= payment.ledger_now() ORDER BY expire_time LIMIT p_limit
        ) AS oldest ORDER BY account_id, hold_id
    LOOP
        SELECT outcome INTO v_outcome FROM payment.close_hold(due.account_id, due.hold_id, 0);
        v_released := v_released + (v_outcome = 'closed')::integer;
    END LOOP;
    RETURN v_released;
END $$
"""

LAPSE_DUE_GRANTS = """
CREATE FUNCTION payment.lapse_due_grants(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due record;
    v_accounts bigint := 0;
BEGIN
    FOR due IN
        SELECT DISTINCT account_id FROM (
            SELECT account_id FROM payment.grants
            WHERE NOT lapsed AND expire_time <= payment.ledger_now() ORDER BY expire_time LIMIT p_limit
        ) AS oldest ORDER BY account_id
    LOOP
        PERFORM 1 FROM payment.accounts WHERE account_id = due.account_id FOR NO KEY UPDATE;
        PERFORM payment.lapse_grants(due.account_id, payment.ledger_now());
        v_accounts := v_accounts + 1;
    END LOOP;
    RETURN v_accounts;
END $$
"""

FUNCTIONS = (
    LEDGER_NOW,
    NEW_ID,
    RECORD_TRANSACTION,
    LAPSE_GRANTS,
    GRANT_CREDITS,
    OPEN_HOLD,
    RESERVE_CREDITS,
    CLOSING_SLICES,
    CLOSE_HOLD,
    RELEASE_EXPIRED_HOLDS,
    LAPSE_DUE_GRANTS,
)

FOR_REQUESTS = (
    "payment.ledger_now()",
    "payment.grant_credits(uuid, text, text, smallint, bigint, timestamptz)",
    "payment.reserve_credits(uuid[], uuid[], bigint[], bigint[], interval[])",
    "payment.close_hold(uuid, uuid, bigint)",
)
FOR_TASKS = (
    "payment.ledger_now()",
    "payment.release_expired_holds(integer)",
    "payment.lapse_due_grants(integer)",
)


def upgrade() -> None:
    """Creates the functions and lets each role execute those that it needs."""
    roles = migration_roles(op)
    for statement in FUNCTIONS:
        op.execute(statement)
    # Everybody may execute a new function until that is revoked.
    op.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA payment FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {', '.join(FOR_REQUESTS)} TO {roles.requests}")
    op.execute(f"GRANT EXECUTE ON FUNCTION {', '.join(FOR_TASKS)} TO {roles.tasks}")


def downgrade() -> None:
    """Refuses: without its functions the ledger is unusable."""
    message = "the ledger's functions are replaced by a later migration, never dropped"
    raise RuntimeError(message)
