-- Gives credits once for each request id; the new ones pay what is owed first. outcome: granted | replayed | conflict.
CREATE OR REPLACE FUNCTION payment.grant_credits(p_account_id uuid, p_request_id text, p_kind text, p_priority smallint, p_amount bigint, p_expire_time timestamp with time zone)
 RETURNS TABLE(grant_id uuid, outcome text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
