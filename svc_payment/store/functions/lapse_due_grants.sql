-- Lapses grants whose time is over, account by account. It looks without a lock, and the movement looks again under it.
CREATE OR REPLACE FUNCTION payment.lapse_due_grants(p_limit integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
