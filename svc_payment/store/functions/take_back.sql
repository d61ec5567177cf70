-- Takes back what it can of p_amount: first from one grant, then from the others in their order of spending. The caller
-- holds the account's lock.
CREATE OR REPLACE FUNCTION payment.take_back(p_account_id uuid, p_grant_id uuid, p_amount bigint, p_now timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    slice record;
    v_rest bigint;
    v_take bigint;
    v_total bigint;
    v_ordinal smallint := 0;
    v_sequence bigint;
BEGIN
    SELECT least(available, p_amount) INTO v_total FROM payment.accounts WHERE account_id = p_account_id;
    IF v_total = 0 THEN
        RETURN 0;
    END IF;
    v_rest := v_total;
    v_sequence := payment.record_transaction(p_account_id, 'revoke', NULL, -v_total, 0, 0, p_now);
    FOR slice IN
        SELECT grant_id, remaining FROM payment.grants WHERE account_id = p_account_id AND remaining > 0
        ORDER BY grant_id IS DISTINCT FROM p_grant_id, priority, expire_time, sequence
    LOOP
        v_take := least(v_rest, slice.remaining);
        v_rest := v_rest - v_take;
        v_ordinal := v_ordinal + 1;
        UPDATE payment.grants SET remaining = remaining - v_take WHERE grant_id = slice.grant_id;
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, revoked)
            VALUES (p_account_id, v_sequence, v_ordinal, slice.grant_id, -v_take, v_take);
        EXIT WHEN v_rest = 0;
    END LOOP;
    RETURN v_total;
END $function$
