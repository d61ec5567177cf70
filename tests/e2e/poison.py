"""Rows that a step of closing can't process, for good: the gallery refuses a prompt, or the ledger can't settle a hold.

A job that has one must end as FAILED, free of charge and without pictures, and hold up no other.
"""

import random
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
from pingvas.generation.v1 import job_pb2

from tests.e2e.stage import Stage

KINDS: Final = ("prompt", "settling")

# Both functions look with their owner's eyes: the services' roles don't know the schema. A job whose settling fails is given
# up at its deadline, or after eight tries, which take eight minutes; so its deadline comes when it begins to close.
_PREPARE: Final = """
    CREATE SCHEMA poison;
    CREATE TABLE poison.jobs (job_id uuid PRIMARY KEY, kind text NOT NULL);
    CREATE FUNCTION poison.refuse_to_settle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF NEW.settled > 0 AND EXISTS (SELECT FROM poison.jobs WHERE job_id = NEW.hold_id AND kind = 'settling') THEN
            RAISE check_violation USING MESSAGE = 'refused by the test';
        END IF;
        RETURN NEW;
    END $$;
    CREATE FUNCTION poison.let_deadline_pass() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF NEW.state = 3 AND EXISTS (SELECT FROM poison.jobs WHERE job_id = NEW.job_id AND kind = 'settling') THEN
            NEW.deadline_time := least(NEW.deadline_time, now());
        END IF;
        RETURN NEW;
    END $$;
    GRANT USAGE ON SCHEMA poison TO PUBLIC;
    CREATE TRIGGER poison BEFORE UPDATE ON payment.holds FOR EACH ROW EXECUTE FUNCTION poison.refuse_to_settle();
    CREATE TRIGGER poison BEFORE UPDATE ON generation.jobs FOR EACH ROW EXECUTE FUNCTION poison.let_deadline_pass();
"""
# Locked, so that no job is poisoned after it has begun to close.
_CHOOSE: Final = """
    SELECT job_id, operation FROM generation.jobs j WHERE state IN (1, 2) AND operation_kind = 'text_to_image'
    AND NOT EXISTS (SELECT FROM poison.jobs p WHERE p.job_id = j.job_id) ORDER BY create_time LIMIT 20 FOR UPDATE
"""
_COMPLETED: Final = "SELECT job_id, kind FROM poison.jobs JOIN generation.jobs j USING (job_id) WHERE j.state = 4"
_FAILED: Final = "SELECT count(*) FROM poison.jobs JOIN generation.jobs j USING (job_id) WHERE j.state = 5"


class Poison:
    """Poisons jobs of a fleet."""

    def __init__(self, stage: Stage) -> None:
        """Prepares the fleet's database."""
        self._stage = stage
        stage.administer(_prepare)

    def poison_one(self, chance: random.Random) -> UUID | None:
        """Poisons a job that waits or runs; returns its id, or None when there is none."""
        return self._stage.administer(lambda connection: _poison_one(connection, chance))

    def completed(self) -> Sequence[asyncpg.Record]:
        """Returns the poisoned jobs that have completed all the same; there must be none."""
        return self._stage.rows(_COMPLETED)

    def failed_count(self) -> int:
        """Returns how many poisoned jobs have failed; others were cancelled before."""
        return int(self._stage.value(_FAILED))


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.execute(_PREPARE)


async def _poison_one(connection: asyncpg.Connection, chance: random.Random) -> UUID | None:
    async with connection.transaction():
        rows = await connection.fetch(_CHOOSE)
        if not rows:
            return None
        job, kind = chance.choice(rows), chance.choice(KINDS)
        await connection.execute("INSERT INTO poison.jobs VALUES ($1, $2)", job["job_id"], kind)
        if kind == "prompt":
            operation = job_pb2.TextToImage.FromString(job["operation"])
            operation.prompt = "a\0b"
            statement = "UPDATE generation.jobs SET operation = $2 WHERE job_id = $1"
            await connection.execute(statement, job["job_id"], operation.SerializeToString())
    return UUID(str(job["job_id"]))
