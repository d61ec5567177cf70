-- Notes what webhooks are to be told of a job's change of state, in the transaction of the change.
-- The events' numbers are those of the contract; a job's states by theirs: RUNNING 2, COMPLETED 4, FAILED 5, CANCELLED 6.
CREATE OR REPLACE FUNCTION generation.note_webhook_deliveries()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_event smallint := CASE NEW.state WHEN 2 THEN 1 WHEN 4 THEN 3 WHEN 5 THEN 4 WHEN 6 THEN 5 END;
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO generation.webhook_deliveries (
        delivery_id, endpoint_id, account_id, event, job_id, event_id, job_attempt, create_time, next_attempt_time
    )
    SELECT gen_random_uuid(), e.endpoint_id, e.account_id, v_event, NEW.job_id, NEW.last_sequence::text, NEW.attempt,
        COALESCE(NEW.end_time, NEW.start_time, v_now), v_now
    FROM generation.webhook_endpoints e
    -- Those that are registered, and the one that the job has brought along, whose id is the job's.
    WHERE e.endpoint_id IN (
        SELECT r.endpoint_id FROM generation.webhook_endpoints r WHERE r.account_id = NEW.account_id AND NOT r.of_job
        UNION ALL
        SELECT NEW.job_id
    ) AND e.account_id = NEW.account_id AND NOT e.disabled AND v_event = ANY (e.events) AND (
        NOT e.named_jobs_only
        OR EXISTS (SELECT 1 FROM generation.webhook_jobs j WHERE j.job_id = NEW.job_id AND j.endpoint_id = e.endpoint_id)
    )
    -- One that is being deleted is left out, where the foreign key would make the job's change fail.
    FOR KEY SHARE OF e;
    RETURN NULL;
END $function$
