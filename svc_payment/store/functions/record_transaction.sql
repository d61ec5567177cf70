-- Counters change only here, in the same breath as the journal. The numbers of an account's transactions have no gap, so
-- the audit notices one that was removed, and their order is the order of the movements whatever the clock did.
CREATE OR REPLACE FUNCTION payment.record_transaction(p_account_id uuid, p_kind text, p_hold_id uuid, p_available bigint, p_held bigint, p_spent bigint, p_now timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_sequence bigint;
BEGIN
    UPDATE payment.accounts
        SET available = available + p_available, held = held + p_held, transaction_count = transaction_count + 1
        WHERE account_id = p_account_id
        RETURNING transaction_count INTO STRICT v_sequence;
    INSERT INTO payment.transactions (account_id, sequence, transaction_id, kind, hold_id, amount, spent, create_time)
        VALUES (p_account_id, v_sequence, payment.new_id(p_now), p_kind, p_hold_id, p_available, p_spent, p_now);
    RETURN v_sequence;
END $function$
