-- The caller holds the account's lock and knows that the balance covers the amount.
CREATE OR REPLACE FUNCTION payment.open_hold(p_account_id uuid, p_hold_id uuid, p_requested bigint, p_minimum bigint, p_lifetime interval, p_amount bigint, p_now timestamp with time zone)
 RETURNS payment.holds
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    slice record;
    v_hold payment.holds;
    v_rest bigint := p_amount;
    v_take bigint;
    v_ordinal smallint := 0;
    v_sequence bigint;
BEGIN
    v_sequence := payment.record_transaction(p_account_id, 'reserve', p_hold_id, -p_amount, p_amount, 0, p_now);
    FOR slice IN
        SELECT grant_id, remaining FROM payment.grants WHERE account_id = p_account_id AND remaining > 0
        ORDER BY priority, expire_time, sequence
    LOOP
        v_take := least(v_rest, slice.remaining);
        v_rest := v_rest - v_take;
        v_ordinal := v_ordinal + 1;
        UPDATE payment.grants SET remaining = remaining - v_take WHERE grant_id = slice.grant_id;
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, held)
            VALUES (p_account_id, v_sequence, v_ordinal, slice.grant_id, -v_take, v_take);
        EXIT WHEN v_rest = 0;
    END LOOP;
    IF v_rest > 0 THEN
        RAISE EXCEPTION 'the grants of account % are % below its balance', p_account_id, v_rest
            USING ERRCODE = 'data_corrupted';
    END IF;
    INSERT INTO payment.holds
        (hold_id, account_id, requested, minimum, lifetime, amount, reserve_sequence, expire_time)
        VALUES (p_hold_id, p_account_id, p_requested, p_minimum, p_lifetime, p_amount, v_sequence, p_now + p_lifetime)
        RETURNING * INTO v_hold;
    RETURN v_hold;
END $function$
