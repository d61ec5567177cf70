-- Lapses grants at once. What jobs hold of them stays until the hold is closed.
CREATE OR REPLACE FUNCTION payment.end_grants(p_account_id uuid, p_request_ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_now timestamptz;
BEGIN
    PERFORM 1 FROM payment.accounts WHERE account_id = p_account_id FOR NO KEY UPDATE;
    v_now := payment.ledger_now();
    UPDATE payment.grants SET expire_time = v_now
        WHERE account_id = p_account_id AND request_id = ANY (p_request_ids) AND NOT lapsed;
    PERFORM payment.lapse_grants(p_account_id, v_now);
END $function$
