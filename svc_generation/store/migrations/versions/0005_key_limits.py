"""Count what API keys spend.

The function that accepts jobs gets a form with the limits of keys beside the old one, which the code that is still running
calls: its jobs count for no key. A later migration drops the old forms.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0005"
down_revision = "0004"

_TABLE = """
CREATE TABLE generation.key_spending (
    account_id uuid NOT NULL,
    api_key_id text NOT NULL,
    day date NOT NULL,
    millicredits bigint NOT NULL CHECK (millicredits >= 0),
    PRIMARY KEY (account_id, api_key_id, day)
) WITH (fillfactor = 50)
"""

# As in 0003, but for the keys. Their sums are read under the lock of the account's counter, so that no limit is exceeded by
# jobs that race; NULL is no limit. outcome is also key_day_spent | key_month_spent.
_ACCEPT_JOBS = """
CREATE FUNCTION generation.accept_jobs(
    p_job_ids uuid[], p_account_ids uuid[], p_created_by uuid[], p_request_ids text[], p_request_hashes bytea[],
    p_first_answers bytea[], p_operation_kinds text[], p_operations bytea[], p_source_keys text[], p_mask_keys text[],
    p_model_ids text[], p_tiers smallint[], p_running_limits integer[], p_waiting_limits integer[],
    p_image_counts smallint[], p_quoted bigint[], p_held bigint[], p_positions integer[],
    p_create_times timestamptz[], p_deadline_times timestamptz[], p_api_key_ids text[], p_key_day_limits bigint[],
    p_key_month_limits bigint[]
) RETURNS TABLE (number integer, outcome text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_sequence bigint;
    v_counted boolean;
    v_known boolean;
    v_day date;
    v_in_day bigint;
    v_in_month bigint;
    v_spent text;
BEGIN
    FOR i IN 1 .. cardinality(p_job_ids) LOOP
        number := i;
        PERFORM set_config('app.account_id', p_account_ids[i]::text, true);
        -- The lock of the account's changes comes first, so what is looked for below is what the last of them left.
        INSERT INTO generation.account_counters AS c (account_id, last_sequence, waiting)
            VALUES (p_account_ids[i], 1, 1)
            ON CONFLICT (account_id) DO UPDATE SET last_sequence = c.last_sequence + 1, waiting = c.waiting + 1
                WHERE c.waiting < p_waiting_limits[i]
            RETURNING c.last_sequence INTO v_sequence;
        v_counted := FOUND;
        v_known := p_request_ids[i] IS NOT NULL AND EXISTS (
            SELECT 1 FROM generation.jobs j WHERE j.account_id = p_account_ids[i] AND j.request_id = p_request_ids[i]
        );
        v_spent := NULL;
        v_day := (p_create_times[i] AT TIME ZONE 'UTC')::date;
        IF v_counted AND NOT v_known AND p_api_key_ids[i] IS NOT NULL THEN
            SELECT coalesce(sum(k.millicredits) FILTER (WHERE k.day = v_day), 0), coalesce(sum(k.millicredits), 0)
                INTO v_in_day, v_in_month FROM generation.key_spending k
                WHERE k.account_id = p_account_ids[i] AND k.api_key_id = p_api_key_ids[i]
                    AND k.day BETWEEN date_trunc('month', v_day)::date AND v_day;
            v_spent := CASE WHEN v_in_day + p_held[i] > p_key_day_limits[i] THEN 'key_day_spent'
                WHEN v_in_month + p_held[i] > p_key_month_limits[i] THEN 'key_month_spent' END;
        END IF;
        IF v_counted AND (v_known OR v_spent IS NOT NULL) THEN
            UPDATE generation.account_counters SET last_sequence = last_sequence - 1, waiting = waiting - 1
                WHERE account_id = p_account_ids[i];
        END IF;
        IF v_known OR NOT v_counted OR v_spent IS NOT NULL THEN
            outcome := CASE WHEN v_known THEN 'known' WHEN NOT v_counted THEN 'queue_full' ELSE v_spent END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        INSERT INTO generation.jobs (
            job_id, account_id, created_by, request_id, request_hash, first_answer, operation_kind, operation,
            source_key, mask_key, model_id, tier, running_limit, image_count, quoted_millicredits, held_millicredits,
            state, queue_position, queued_sequence, last_sequence, create_time, queue_time, deadline_time,
            api_key_id
        ) VALUES (
            p_job_ids[i], p_account_ids[i], p_created_by[i], p_request_ids[i], p_request_hashes[i], p_first_answers[i],
            p_operation_kinds[i], p_operations[i], p_source_keys[i], p_mask_keys[i], p_model_ids[i], p_tiers[i],
            p_running_limits[i], p_image_counts[i], p_quoted[i], p_held[i], 1, p_positions[i], v_sequence, v_sequence,
            p_create_times[i], p_create_times[i], p_deadline_times[i], p_api_key_ids[i]
        );
        IF p_api_key_ids[i] IS NOT NULL THEN
            INSERT INTO generation.key_spending AS k (account_id, api_key_id, day, millicredits)
                VALUES (p_account_ids[i], p_api_key_ids[i], v_day, p_held[i])
                ON CONFLICT (account_id, api_key_id, day) DO UPDATE SET millicredits = k.millicredits + p_held[i];
        END IF;
        outcome := 'accepted';
        RETURN NEXT;
    END LOOP;
    PERFORM set_config('app.account_id', '', true);
END $$
"""


def upgrade() -> None:
    roles = migration_roles(op)
    op.execute("ALTER TABLE generation.jobs ADD COLUMN api_key_id text")
    op.execute(_TABLE)
    for statement in rls_statements("generation", "key_spending", roles.requests, roles.tasks):
        op.execute(statement)
    op.execute(_ACCEPT_JOBS)
    op.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA generation TO {roles.requests}")
