"""What must hold whatever happened, once the system is quiet: the one list that every test with an accident ends with.

The numbers are those of the reliability design. I7, what a watcher sees, is checked where streams are read.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from svc_user.domain.account_exports import zip_key
from tests.e2e.stage import Stage, until

QUIET_SECONDS: Final = 60.0
"""I11: how soon the queue must have drained and everything be tidy after an accident."""

# Name -> the rows that break it. Joins across schemas are the administrator's privilege; no service could do them.
_CHECKS: Final = {
    "I2 an event number is used twice": """
        SELECT account_id, number FROM (
            SELECT account_id, unnest(ARRAY[queued_sequence, started_sequence, ended_sequence]) AS number
            FROM generation.jobs
        ) AS numbers WHERE number IS NOT NULL GROUP BY account_id, number HAVING count(*) > 1
    """,
    "I2 the last event of an ended job isn't its end": """
        SELECT job_id FROM generation.jobs WHERE state >= 4 AND last_sequence <> ended_sequence
    """,
    "I4 a job has no hold of its amount": """
        SELECT j.job_id FROM generation.jobs j
        LEFT JOIN payment.holds h ON h.hold_id = j.job_id AND h.account_id = j.account_id
        WHERE h.amount IS DISTINCT FROM j.held_millicredits
    """,
    "I4 a job has ended and its hold hasn't, or the other way round": """
        SELECT j.job_id FROM generation.jobs j JOIN payment.holds h ON h.hold_id = j.job_id
        WHERE (j.state >= 4) <> (h.state <> 'held')
    """,
    "I4 what was settled isn't what the job says it used": """
        SELECT j.job_id FROM generation.jobs j JOIN payment.holds h ON h.hold_id = j.job_id
        WHERE j.state >= 4 AND h.settled <> j.used_millicredits
    """,
    "I4 a failed job was charged": """
        SELECT j.job_id FROM generation.jobs j JOIN payment.holds h ON h.hold_id = j.job_id
        WHERE j.state = 5 AND (h.settled <> 0 OR h.state <> 'released')
    """,
    "I4 a completed job wasn't settled": """
        SELECT j.job_id FROM generation.jobs j JOIN payment.holds h ON h.hold_id = j.job_id
        WHERE j.state = 4 AND (h.settled < 1 OR h.state <> 'settled')
    """,
    "I5 a hold was closed twice": """
        SELECT hold_id FROM payment.transactions WHERE kind IN ('settle', 'release')
        GROUP BY hold_id HAVING count(*) > 1
    """,
    "I5 a completed job hasn't exactly one completed attempt, or another job has one": """
        SELECT j.job_id FROM generation.jobs j
        LEFT JOIN generation.attempts a ON a.job_id = j.job_id AND a.outcome = 2
        GROUP BY j.job_id HAVING count(a.attempt) <> (j.state = 4)::integer
    """,
    "I5 an attempt outlived its job": """
        SELECT a.job_id FROM generation.attempts a JOIN generation.jobs j USING (job_id)
        WHERE j.state >= 4 AND a.end_time IS NULL
    """,
    "I9 an account is below zero": "SELECT account_id FROM payment.accounts WHERE available < 0 OR held < 0",
    "the count of waiting jobs is wrong": """
        SELECT account_id FROM generation.account_counters c WHERE waiting <> (
            SELECT count(*) FROM generation.jobs j WHERE j.account_id = c.account_id AND j.state = 1
        )
    """,
}


def assert_invariants(stage: Stage, *, within_seconds: float = QUIET_SECONDS) -> None:
    """Waits until the system is quiet and asserts that nothing was lost, doubled, or charged wrongly."""
    try:
        until(lambda: is_quiet(stage), "the system to be quiet (I2, I4, I10, I11)", within_seconds=within_seconds)
    except AssertionError as error:
        error.add_note(f"What isn't: {_unquiet(stage)}")
        raise
    broken = {name: rows for name, statement in _CHECKS.items() if (rows := stage.rows(statement))}
    assert broken == {}, broken
    assert list(stage.audit()) == [], "I1"
    _assert_pictures(stage)


def is_quiet(stage: Stage) -> bool:
    """Tells whether every job has ended (I2), Redis knows of none (I11), and nothing is due to be released or deleted."""
    return not any(_unquiet(stage).values())


def _unquiet(stage: Stage) -> dict[str, Sequence[object]]:
    """Returns what is still to be done.

    That is: jobs that haven't ended, attempts to be cleaned (I10), holds without a job (I4), and the queues' members.
    """
    jobs = "SELECT job_id, state, outcome, attempt, worker_id, cancel_requested FROM generation.jobs WHERE state < 4"
    attempts = "SELECT job_id, attempt, outcome, clean_time FROM generation.attempts WHERE clean_time < now()"
    holds = """
        SELECT h.hold_id, h.account_id FROM payment.holds h LEFT JOIN generation.jobs j ON j.job_id = h.hold_id
        WHERE h.state = 'held' AND j.job_id IS NULL
    """
    unquiet = {name: stage.rows(query) for name, query in (("jobs", jobs), ("attempts", attempts), ("holds", holds))}
    return {**unquiet, "queues": _queued(stage)}


def _queued(stage: Stage) -> Sequence[bytes]:
    with stage.redis() as redis:
        return [member for key in redis.scan_iter("arq:q:*") for member in redis.zrange(key, 0, -1)]


def _assert_pictures(stage: Stage) -> None:
    """I4 and I10: the pictures of completed jobs, the rows of the gallery and the objects are the same set."""
    completed = stage.rows("SELECT account_id, job_id, image_count, images FROM generation.jobs WHERE state = 4")
    made = {image["image_id"]: image["sha256"] for job in completed for image in json.loads(job["images"])}
    assert len(made) == sum(job["image_count"] for job in completed)
    rows = stage.rows("SELECT account_id, image_id, sha256, size_bytes FROM gallery.images")
    assert {str(row["image_id"]): row["sha256"] for row in rows} == made
    objects = stage.objects()
    folders = {f"users/{row['account_id']}/images/{row['image_id']}": row for row in rows}
    wanted = {f"{folder}/{name}" for folder in folders for name in ("original.png", "thumbnail.webp", "metadata.json")}
    uploads = stage.rows("SELECT account_id, upload_id FROM gallery.uploads")
    others = {f"users/{row['account_id']}/uploads/{row['upload_id']}" for row in uploads}
    copies = stage.rows("SELECT account_id, export_id, attempt FROM users.account_exports WHERE state = 'ready'")
    others |= {zip_key(*(row[name] for name in ("account_id", "export_id", "attempt"))) for row in copies}
    assert set(objects) - others == wanted
    for folder, row in folders.items():
        content = objects[f"{folder}/original.png"].read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (row["size_bytes"], row["sha256"])
