-- What an account is notified of stands in its row, where each movement has it at hand. NULL: no warning.
CREATE OR REPLACE FUNCTION payment.set_notices(p_account_id uuid, p_low_balance bigint, p_mails_statements boolean)
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO payment.accounts (account_id, low_balance, mails_statements)
        VALUES (p_account_id, p_low_balance, p_mails_statements)
        ON CONFLICT (account_id) DO UPDATE
            SET low_balance = excluded.low_balance, mails_statements = excluded.mails_statements
$function$
