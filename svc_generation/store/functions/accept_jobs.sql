-- Inserts jobs as queued and counts them as waiting, each as if it came alone, in one transaction.
-- outcome: accepted | queue_full | known.
CREATE OR REPLACE FUNCTION generation.accept_jobs(p_job_ids uuid[], p_account_ids uuid[], p_created_by uuid[], p_request_ids text[], p_request_hashes bytea[], p_first_answers bytea[], p_operation_kinds text[], p_operations bytea[], p_source_keys text[], p_mask_keys text[], p_model_ids text[], p_tiers smallint[], p_running_limits integer[], p_waiting_limits integer[], p_image_counts smallint[], p_quoted bigint[], p_held bigint[], p_positions integer[], p_create_times timestamp with time zone[], p_deadline_times timestamp with time zone[])
 RETURNS TABLE(number integer, outcome text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_sequence bigint;
    v_counted boolean;
    v_known boolean;
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
        IF v_known AND v_counted THEN
            UPDATE generation.account_counters SET last_sequence = last_sequence - 1, waiting = waiting - 1
                WHERE account_id = p_account_ids[i];
        END IF;
        IF v_known OR NOT v_counted THEN
            outcome := CASE WHEN v_known THEN 'known' ELSE 'queue_full' END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        INSERT INTO generation.jobs (
            job_id, account_id, created_by, request_id, request_hash, first_answer, operation_kind, operation,
            source_key, mask_key, model_id, tier, running_limit, image_count, quoted_millicredits, held_millicredits,
            state, queue_position, queued_sequence, last_sequence, create_time, queue_time, deadline_time
        ) VALUES (
            p_job_ids[i], p_account_ids[i], p_created_by[i], p_request_ids[i], p_request_hashes[i], p_first_answers[i],
            p_operation_kinds[i], p_operations[i], p_source_keys[i], p_mask_keys[i], p_model_ids[i], p_tiers[i],
            p_running_limits[i], p_image_counts[i], p_quoted[i], p_held[i], 1, p_positions[i], v_sequence, v_sequence,
            p_create_times[i], p_create_times[i], p_deadline_times[i]
        );
        outcome := 'accepted';
        RETURN NEXT;
    END LOOP;
    PERFORM set_config('app.account_id', '', true);
END $function$
