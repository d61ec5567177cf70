-- Slices are used up in the order in which they were taken, so what goes back comes from the last of them. Credits whose
-- grant lapsed meanwhile lapse with it: a long job doesn't launder them.
CREATE OR REPLACE FUNCTION payment.closing_slices(p_account_id uuid, p_reserve_sequence bigint, p_used bigint)
 RETURNS TABLE(ordinal smallint, grant_id uuid, held bigint, spent bigint, returned bigint, expired bigint)
 LANGUAGE sql
 STABLE
AS $function$
    SELECT ordinal, grant_id, held, spent,
        CASE WHEN lapsed THEN 0 ELSE held - spent END, CASE WHEN lapsed THEN held - spent ELSE 0 END
    FROM (
        SELECT e.ordinal, e.grant_id, e.held, g.lapsed,
            least(e.held, greatest(0, p_used - (sum(e.held) OVER (ORDER BY e.ordinal) - e.held)))::bigint AS spent
        FROM payment.entries e JOIN payment.grants g ON g.grant_id = e.grant_id
        WHERE e.account_id = p_account_id AND e.sequence = p_reserve_sequence
    ) AS slices
$function$
