-- RFC 9562: 48 bits of Unix milliseconds, then random bits; setting two bits turns the version of a random UUID from 4
-- to 7. PostgreSQL has uuidv7() of its own only since 18.
CREATE OR REPLACE FUNCTION payment.new_id(p_now timestamp with time zone)
 RETURNS uuid
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM p_now) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$function$
