-- The caller holds the account's lock and knows that the request id is new.
CREATE OR REPLACE FUNCTION payment.issue_grant(p_account_id uuid, p_request_id text, p_kind text, p_priority smallint, p_amount bigint, p_expire_time timestamp with time zone, p_now timestamp with time zone)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_grant_id uuid := payment.new_id(p_now);
    v_sequence bigint;
BEGIN
    v_sequence := payment.record_transaction(p_account_id, 'grant', NULL, p_amount, 0, 0, p_now);
    INSERT INTO payment.grants
        (grant_id, account_id, request_id, kind, priority, amount, remaining, expire_time, create_time, sequence)
        VALUES (v_grant_id, p_account_id, p_request_id, p_kind, p_priority, p_amount, p_amount, p_expire_time, p_now,
                v_sequence);
    INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, issued, available)
        VALUES (p_account_id, v_sequence, 1, v_grant_id, -p_amount, p_amount);
    RETURN v_grant_id;
END $function$
