"""Create the jobs, their attempts and the accounts' counters.

Revision ID: 0001
Revises:
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE generation.account_counters (
    account_id uuid PRIMARY KEY,
    last_sequence bigint NOT NULL,
    waiting integer NOT NULL CHECK (waiting >= 0)
) WITH (fillfactor = 50);

CREATE TABLE generation.jobs (
    job_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    created_by uuid NOT NULL,
    request_id text,
    request_hash bytea NOT NULL,
    first_answer bytea NOT NULL,
    operation bytea NOT NULL,
    model_id text NOT NULL,
    tier smallint NOT NULL,
    running_limit integer NOT NULL,
    image_count smallint NOT NULL,
    quoted_millicredits bigint NOT NULL,
    held_millicredits bigint NOT NULL,
    used_millicredits bigint CHECK (used_millicredits BETWEEN 0 AND held_millicredits),
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 6),
    outcome smallint CHECK (outcome BETWEEN 4 AND 6),
    attempt integer NOT NULL DEFAULT 0,
    returned integer NOT NULL DEFAULT 0 CHECK (returned <= attempt),
    claim_id text,
    worker_id text,
    cancel_requested boolean NOT NULL DEFAULT false,
    gpu_milliseconds bigint NOT NULL DEFAULT 0,
    images jsonb NOT NULL DEFAULT '[]',
    failure_reason text,
    failure_message text,
    queue_position integer NOT NULL,
    queued_sequence bigint NOT NULL,
    started_sequence bigint,
    ended_sequence bigint,
    last_sequence bigint NOT NULL,
    create_time timestamptz NOT NULL,
    queue_time timestamptz NOT NULL,
    start_time timestamptz,
    finalize_time timestamptz,
    end_time timestamptz,
    deadline_time timestamptz NOT NULL,
    CHECK ((state >= 4) = (ended_sequence IS NOT NULL)),
    CHECK ((state >= 4) = (end_time IS NOT NULL)),
    CHECK ((state >= 4) = (used_millicredits IS NOT NULL)),
    CHECK ((state >= 3) = (outcome IS NOT NULL)),
    CHECK (state < 4 OR state = outcome)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX jobs_request ON generation.jobs (account_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX jobs_newest ON generation.jobs (account_id, create_time DESC, job_id DESC);
CREATE INDEX jobs_sequence ON generation.jobs (account_id, last_sequence);
CREATE INDEX jobs_open ON generation.jobs (state, job_id) WHERE state < 4;

CREATE TABLE generation.attempts (
    job_id uuid NOT NULL REFERENCES generation.jobs,
    attempt integer NOT NULL,
    account_id uuid NOT NULL,
    worker_id text NOT NULL,
    outcome smallint NOT NULL,
    image_ids uuid[] NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    upload_expire_time timestamptz NOT NULL,
    clean_time timestamptz,
    PRIMARY KEY (job_id, attempt)
);
CREATE INDEX attempts_to_clean ON generation.attempts (clean_time) WHERE clean_time IS NOT NULL;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)
    roles = migration_roles(op)
    for table in ("account_counters", "jobs", "attempts"):
        for statement in rls_statements("generation", table, roles.requests, roles.tasks):
            op.execute(statement)
