"""Create the webhook endpoints and their outbox of deliveries, which a trigger fills in the transaction of each event.

A trigger, so that no change of a job's state can be written without its deliveries, whichever statement writes it. It runs as
its caller: row-level security holds inside. Jobs whose account has no endpoint pay one look into an index for each change.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0006"
down_revision = "0005"

_TABLES = """
CREATE TABLE generation.webhook_endpoints (
    endpoint_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    created_by uuid NOT NULL,
    request_id text,
    request_hash bytea NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    events smallint[] NOT NULL,
    named_jobs_only boolean NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    disable_reason text NOT NULL DEFAULT '',
    failing_since timestamptz,
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_expire_time timestamptz,
    create_time timestamptz NOT NULL
);
CREATE UNIQUE INDEX webhook_endpoints_request ON generation.webhook_endpoints (account_id, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX webhook_endpoints_newest ON generation.webhook_endpoints (account_id, create_time DESC, endpoint_id DESC);

CREATE TABLE generation.webhook_jobs (
    job_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    endpoint_id uuid NOT NULL REFERENCES generation.webhook_endpoints ON DELETE CASCADE,
    create_time timestamptz NOT NULL
);
CREATE INDEX webhook_jobs_endpoint ON generation.webhook_jobs (endpoint_id);
CREATE INDEX webhook_jobs_oldest ON generation.webhook_jobs (create_time);

CREATE TABLE generation.webhook_deliveries (
    delivery_id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES generation.webhook_endpoints ON DELETE CASCADE,
    account_id uuid NOT NULL,
    event smallint NOT NULL,
    job_id uuid,
    event_id text NOT NULL DEFAULT '',
    job_attempt integer NOT NULL DEFAULT 0,
    progress bytea,
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    attempt_count integer NOT NULL DEFAULT 0,
    round_count integer NOT NULL DEFAULT 0,
    last_http_status smallint NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    last_attempt_time timestamptz,
    next_attempt_time timestamptz,
    CHECK ((state = 1) = (next_attempt_time IS NOT NULL))
);
CREATE UNIQUE INDEX webhook_deliveries_event ON generation.webhook_deliveries (endpoint_id, job_id, event_id)
    WHERE job_id IS NOT NULL;
CREATE UNIQUE INDEX webhook_deliveries_progress ON generation.webhook_deliveries (endpoint_id, job_id)
    WHERE event = 2 AND state = 1;
CREATE INDEX webhook_deliveries_due ON generation.webhook_deliveries (next_attempt_time) WHERE state = 1;
CREATE INDEX webhook_deliveries_newest ON generation.webhook_deliveries (endpoint_id, create_time DESC, delivery_id DESC);
CREATE INDEX webhook_deliveries_oldest ON generation.webhook_deliveries (create_time)
"""

# The numbers of the events are those of the contract: a job's state by its number, RUNNING 2, COMPLETED 4, FAILED 5,
# CANCELLED 6. FINALIZING takes no event number, and a job that waits again isn't told.
_FUNCTION = """
CREATE FUNCTION generation.note_webhook_deliveries() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
    WHERE e.account_id = NEW.account_id AND NOT e.disabled AND v_event = ANY (e.events) AND (
        NOT e.named_jobs_only
        OR EXISTS (SELECT 1 FROM generation.webhook_jobs j WHERE j.job_id = NEW.job_id AND j.endpoint_id = e.endpoint_id)
    )
    -- One that is being deleted is left out, where the foreign key would make the job's change fail.
    FOR KEY SHARE OF e;
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER note_webhook_deliveries AFTER UPDATE OF last_sequence ON generation.jobs FOR EACH ROW
    WHEN (NEW.last_sequence <> OLD.last_sequence AND NEW.state IN (2, 4, 5, 6))
    EXECUTE FUNCTION generation.note_webhook_deliveries()
"""


def upgrade() -> None:
    for statement in _TABLES.split(";"):
        op.execute(statement)
    roles = migration_roles(op)
    for table in ("webhook_endpoints", "webhook_jobs", "webhook_deliveries"):
        for statement in rls_statements("generation", table, roles.requests, roles.tasks):
            op.execute(statement)
    op.execute(_FUNCTION)
    op.execute(_TRIGGER)
    op.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA generation TO {roles.requests}, {roles.tasks}")
