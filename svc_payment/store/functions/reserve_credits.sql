-- outcome: held | replayed | conflict | insufficient, one for each item, and no item makes another fail. `balance` is
-- what was available before it. Many items in one call share one commit.
CREATE OR REPLACE FUNCTION payment.reserve_credits(p_account_ids uuid[], p_hold_ids uuid[], p_requested bigint[], p_minimums bigint[], p_lifetimes interval[])
 RETURNS TABLE(number bigint, outcome text, balance bigint, state text, amount bigint, settled bigint, expire_time timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    item record;
    v_hold payment.holds;
    v_now timestamptz;
BEGIN
    FOR item IN
        SELECT * FROM unnest(p_account_ids, p_hold_ids, p_requested, p_minimums, p_lifetimes)
            WITH ORDINALITY AS items (account_id, hold_id, requested, minimum, lifetime, number)
        ORDER BY account_id, number
    LOOP
        number := item.number;
        SELECT available INTO balance FROM payment.accounts WHERE account_id = item.account_id FOR NO KEY UPDATE;
        v_now := payment.ledger_now();
        SELECT * INTO v_hold FROM payment.holds WHERE hold_id = item.hold_id;
        IF FOUND THEN
            outcome := CASE WHEN (v_hold.account_id, v_hold.requested, v_hold.minimum, v_hold.lifetime)
                = (item.account_id, item.requested, item.minimum, item.lifetime) THEN 'replayed' ELSE 'conflict' END;
        ELSE
            balance := coalesce(balance, 0) - payment.lapse_grants(item.account_id, v_now);
            IF least(item.requested, balance) < item.minimum THEN
                outcome := 'insufficient';
            ELSE
                outcome := 'held';
                v_hold := payment.open_hold(item.account_id, item.hold_id, item.requested, item.minimum, item.lifetime,
                                            least(item.requested, balance), v_now);
            END IF;
        END IF;
        state := v_hold.state;
        amount := v_hold.amount;
        settled := v_hold.settled;
        expire_time := v_hold.expire_time;
        RETURN NEXT;
    END LOOP;
END $function$
