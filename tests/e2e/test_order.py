"""Whose turn it is: strictly by tier, within a tier by who has had least, and nobody waits for ever."""

from itertools import pairwise

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Job, Person, Stage, create_request, until

TIERS = ("enterprise", "studio", "pro", "starter", "free")
_STARTED = "SELECT job_id, account_id FROM generation.jobs WHERE job_id = ANY($1::uuid[]) ORDER BY start_time"


def started_in_order(stage: Stage, jobs: list[Job]) -> list[str]:
    """Waits for the ends of jobs and returns their ids in the order of their starts."""
    ids = [job.job_id for job in jobs]
    count = "SELECT count(*) FROM generation.jobs WHERE job_id = ANY($1::uuid[]) AND state = 4"
    until(lambda: stage.value(count, ids) == len(ids), f"{len(ids)} jobs to complete", within_seconds=60)
    return [str(row["job_id"]) for row in stage.rows(_STARTED, ids)]


def submit(person: Person, count: int) -> list[Job]:
    """Submits jobs one after the other, so that their order of arrival is theirs."""
    answers = [person.create(f"number {number}") for number in range(count)]
    assert len({answer.job_id for answer in answers}) == count
    return answers


def test_tiers_are_served_strictly_although_the_lowest_came_first(calm: Stage) -> None:
    people = {tier: calm.person(tier) for tier in TIERS}
    with calm.busy_workers():
        jobs = {tier: submit(people[tier], 2) for tier in reversed(TIERS)}
    order = started_in_order(calm, [job for of_tier in jobs.values() for job in of_tier])
    assert order == [job.job_id for tier in TIERS for job in jobs[tier]]
    assert_invariants(calm)


def test_two_people_alternate_although_one_queued_fifty_first(calm: Stage) -> None:
    hoarder, newcomer = calm.person("pro"), calm.person("pro")
    with calm.busy_workers():
        many = submit(hoarder, 50)
        few = submit(newcomer, 10)
        assert newcomer.get(few[0].job_id).queue_position <= 1
    order = started_in_order(calm, many + few)
    # In the order of each person's own line, and one by one as long as both have something to start.
    assert [job_id for job_id in order if job_id in {job.job_id for job in many}] == [job.job_id for job in many]
    owners = ["few" if job_id in {job.job_id for job in few} else "many" for job_id in order[:20]]
    assert owners.count("few") == 10
    assert all(first != second for first, second in pairwise(owners))


def test_job_past_the_longest_wait_of_its_tier_is_served_before_higher_tiers(calm: Stage) -> None:
    """Every tenth claim serves whoever waited too long. The wait is made by setting the job's clock back."""
    patient, impatient = calm.person("free"), calm.person("studio")
    with calm.busy_workers():
        (overdue,) = submit(patient, 1)
        jobs = submit(impatient, 30)
        calm.rows(
            "UPDATE generation.jobs SET create_time = create_time - interval '31 minutes' WHERE job_id = $1::uuid",
            overdue.job_id,
        )
        with calm.redis() as redis:
            # The sweep puts everything back as the table has it.
            redis.flushall()
            until(lambda: redis.zcard("arq:q:studio") == 30 and redis.zcard("arq:q:free") == 1, "the sweep")
    order = started_in_order(calm, [overdue, *jobs])
    assert order.index(overdue.job_id) <= 10
    assert order.index(overdue.job_id) < len(order) - 1
    assert_invariants(calm)


def test_position_tells_how_many_start_before(calm: Stage) -> None:
    person = calm.person("pro")
    with calm.busy_workers():
        answers = [person.create(f"place {number}") for number in range(5)]
        assert [person.get(job.job_id).queue_position for job in answers] == [0, 1, 2, 3, 4]
        assert [job.queue_position for job in answers] == [0, 1, 2, 3, 4]
        for job in answers:
            person.cancel(job.job_id)
    requests = [create_request("nobody waits")]
    assert person.end_of(person.create_at_once(requests)[0].job_id).queue_position == 0  # type: ignore[union-attr]
