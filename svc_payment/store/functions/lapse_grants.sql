-- The caller holds the account's lock. Every movement begins with it, which makes `available` exact at that instant.
CREATE OR REPLACE FUNCTION payment.lapse_grants(p_account_id uuid, p_now timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_grants uuid[];
    v_rests bigint[];
    v_total bigint;
    v_sequence bigint;
BEGIN
    SELECT array_agg(grant_id ORDER BY priority, expire_time, sequence),
           array_agg(remaining ORDER BY priority, expire_time, sequence), sum(remaining)
        INTO v_grants, v_rests, v_total
        FROM payment.grants WHERE account_id = p_account_id AND NOT lapsed AND expire_time <= p_now;
    IF v_grants IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE payment.grants SET remaining = 0, lapsed = true WHERE grant_id = ANY (v_grants);
    IF v_total > 0 THEN
        v_sequence := payment.record_transaction(p_account_id, 'expire', NULL, -v_total, 0, 0, p_now);
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, available, expired)
            SELECT p_account_id, v_sequence, row_number() OVER (ORDER BY number), grant_id, -rest, rest
            FROM unnest(v_grants, v_rests) WITH ORDINALITY AS due (grant_id, rest, number) WHERE rest > 0;
    END IF;
    RETURN v_total;
END $function$
