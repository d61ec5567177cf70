-- Grants of the months that p_replaces names lapse at once. What runs keeps what it holds of them; the rest of that
-- lapses with the grant when the hold is closed. With p_keeps_spending, what was spent or is held of them is taken off the
-- new grant. outcome: granted | replayed | conflict.
CREATE OR REPLACE FUNCTION payment.grant_plan_credits(p_account_id uuid, p_request_id text, p_priority smallint, p_amount bigint, p_replaces text[], p_keeps_spending boolean, p_is_superseded boolean)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$
