-- p_used 0 releases the hold. outcome: closed | replayed | conflict | missing.
CREATE OR REPLACE FUNCTION payment.close_hold(p_account_id uuid, p_hold_id uuid, p_used bigint)
 RETURNS TABLE(outcome text, state text, amount bigint, settled bigint, expire_time timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
