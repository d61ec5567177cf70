-- The one clock of the ledger: the database's, so that a server whose clock is off neither lapses nor keeps anything
-- early. It isn't now(), which stands still while a movement waits for the lock. Tests replace this function to move
-- time.
CREATE OR REPLACE FUNCTION payment.ledger_now()
 RETURNS timestamp with time zone
 LANGUAGE sql
AS $function$ SELECT clock_timestamp() $function$
