-- Releases holds whose time is over. It looks without a lock, and the movement looks again under it: who closes a hold
-- meanwhile wins.
CREATE OR REPLACE FUNCTION payment.release_expired_holds(p_limit integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
