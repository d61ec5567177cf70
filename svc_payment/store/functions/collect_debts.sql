-- Pays debts, the oldest first, with what is available. The caller holds the account's lock.
CREATE OR REPLACE FUNCTION payment.collect_debts(p_account_id uuid, p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_debt bigint;
    v_taken bigint;
BEGIN
    SELECT sum(amount - recovered) INTO v_debt FROM payment.clawbacks
        WHERE account_id = p_account_id AND recovered < amount;
    IF v_debt IS NULL THEN
        RETURN;
    END IF;
    v_taken := payment.take_back(p_account_id, NULL, v_debt, p_now);
    UPDATE payment.clawbacks SET recovered = recovered + due.paid
        FROM (
            SELECT ordinal, greatest(0, least(amount - recovered, v_taken - (sum(amount - recovered)
                OVER (ORDER BY ordinal) - (amount - recovered))))::bigint AS paid
            FROM payment.clawbacks WHERE account_id = p_account_id AND recovered < amount
        ) AS due
        WHERE clawbacks.account_id = p_account_id AND clawbacks.ordinal = due.ordinal AND due.paid > 0;
END $function$
