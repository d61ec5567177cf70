-- p_target is what the refunds so far take back of the grant in all, so a repetition takes nothing more. What lapsed
-- unspent brought nobody anything, and isn't asked for again.
CREATE OR REPLACE FUNCTION payment.revoke_grant(p_account_id uuid, p_request_id text, p_target bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
