-- Notes that an account's balance, held credits among it, has fallen below its threshold. It runs at the end of the
-- transaction, since one movement may take credits and give others; what counts is what it leaves. Two notes of the same
-- transaction have the same key.
CREATE OR REPLACE FUNCTION payment.note_low_balance()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_account payment.accounts;
    v_now timestamptz := payment.ledger_now();
BEGIN
    SELECT * INTO v_account FROM payment.accounts WHERE account_id = NEW.account_id;
    IF v_account.available + v_account.held < v_account.low_balance THEN
        INSERT INTO payment.notices (notice_id, account_id, business_key, channel, kind, content, create_time, next_time)
            SELECT payment.new_id(v_now), v_account.account_id, 'low_balance:' || v_account.transaction_count, channel,
                'low_balance', jsonb_build_object('balance', v_account.available + v_account.held,
                'threshold', v_account.low_balance), v_now, v_now
            FROM unnest(ARRAY['mail', 'event']) AS channels (channel)
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $function$
