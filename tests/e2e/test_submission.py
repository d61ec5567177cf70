"""Submissions that race: credits, keys and places in the queue are given out exactly, never twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import grpc
import pytest
from pingvas.generation.v1 import generation_service_pb2

from svc_common.errors import Reason, ServiceError
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Job, Person, Stage, answer_or_refusal, create_request, refusal_of, until

AFFORDED = 100


def price_of_one(person: Person) -> Decimal:
    """Returns what is held for one of the jobs of `create_request`."""
    quote = generation_service_pb2.QuoteJobRequest(text_to_image=create_request("a price").text_to_image)
    answer = person.generation.QuoteJob(quote, timeout=10, metadata=person.metadata)
    return Decimal(answer.credits_held)


def accepted(answers: list[Job | ServiceError]) -> list[Job]:
    return [answer for answer in answers if isinstance(answer, Job)]


def refused(answers: list[Job | ServiceError]) -> list[ServiceError]:
    return [answer for answer in answers if isinstance(answer, ServiceError)]


def cancel_all(person: Person, jobs: list[Job]) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda job: person.cancel(job.job_id), jobs))


def test_two_hundred_parallel_submissions_with_credits_for_a_hundred_accept_a_hundred(calm: Stage) -> None:
    person = calm.person("studio", has_credits=0)
    price = price_of_one(person)
    calm.fleet.administrator.grant(str(person.account_id), int(price * 1000) * AFFORDED)
    with calm.busy_workers():
        answers = person.create_at_once([create_request(f"coin {number}") for number in range(2 * AFFORDED)])
        assert len(accepted(answers)) == AFFORDED
        assert len({job.job_id for job in accepted(answers)}) == AFFORDED
        assert {refusal.reason for refusal in refused(answers)} == {Reason.INSUFFICIENT_CREDITS}
        # The quote is two thirds of what is held, so the price in the refusal is what a job needs at least.
        assert {Decimal(refusal.metadata["balance"]) for refusal in refused(answers)} == {Decimal(0)}
        assert all(0 < Decimal(refusal.metadata["price"]) <= price for refusal in refused(answers))
        balance = person.balance()
        assert (Decimal(balance.available), Decimal(balance.held)) == (0, price * AFFORDED)
        cancel_all(person, accepted(answers))
        balance = person.balance()
        assert (Decimal(balance.available), Decimal(balance.held)) == (price * AFFORDED, 0)
    assert_invariants(calm)


@pytest.mark.parametrize("where", ["field", "header"])
def test_one_key_fifty_times_in_parallel_makes_one_job(calm: Stage, where: str) -> None:
    person = calm.person()
    request = create_request("a twin", request_id="once" if where == "field" else "")
    metadata = (*person.metadata, ("idempotency-key", "once")) if where == "header" else person.metadata
    calls = [person.generation.CreateJob.future(request, timeout=30, metadata=metadata) for _ in range(50)]
    answers = [call.result() for call in calls]
    assert all(answer == answers[0] for answer in answers)
    statement = "SELECT count(*) FROM {} WHERE account_id = $1"
    assert calm.value(statement.format("generation.jobs"), person.account_id) == 1
    held = "SELECT count(*) FROM payment.transactions WHERE account_id = $1 AND kind = 'reserve'"
    assert calm.value(held, person.account_id) == 1
    person.end_of(answers[0].job_id)
    assert person.create("a twin", request_id="once") == answers[0], "the first answer, also after the end"
    assert_invariants(calm)


def test_key_with_another_body_is_refused_and_changes_nothing(calm: Stage) -> None:
    person = calm.person()
    first = person.create("the first body", request_id="a key")
    person.end_of(first.job_id)
    before = person.balance()
    refusal = refusal_of(lambda: person.create("another body", request_id="a key"))
    assert (refusal.reason, refusal.metadata) == (Reason.IDEMPOTENCY_KEY_REUSED, {"request_id": "a key"})
    assert person.balance() == before
    assert calm.value("SELECT count(*) FROM generation.jobs WHERE account_id = $1", person.account_id) == 1


def test_key_of_one_account_means_nothing_in_another(calm: Stage) -> None:
    one, other = calm.person(), calm.person()
    first, second = one.create("mine", request_id="the same key"), other.create("ours", request_id="the same key")
    assert first.job_id != second.job_id
    assert {one.end_of(first.job_id).state, other.end_of(second.job_id).state} == {4}


def test_free_queue_takes_exactly_five_waiting_jobs_from_twenty_parallel_submissions(calm: Stage) -> None:
    person = calm.person("free")
    price = price_of_one(person)
    with calm.busy_workers():
        answers = person.create_at_once([create_request(f"place {number}") for number in range(20)])
        assert len(accepted(answers)) == 5
        for refusal in refused(answers):
            assert (refusal.reason, refusal.metadata) == (Reason.QUEUE_FULL, {"tier": "free", "limit": "5"})
            assert refusal.retry_after is not None
            assert timedelta(0) < refusal.retry_after < timedelta(minutes=1)
        assert Decimal(person.balance().held) == 5 * price
        person.cancel(accepted(answers)[0].job_id)
        assert isinstance(answer_or_refusal(lambda: person.create("a place that became free")), Job)
        cancel_all(person, _all_open(person))
    assert_invariants(calm)


def test_submission_whose_caller_ran_out_of_time_holds_nothing_for_no_job(calm: Stage) -> None:
    person = calm.person()
    metadata = person.metadata
    with calm.locked("generation.jobs"), pytest.raises(grpc.RpcError) as failure:
        person.generation.CreateJob(create_request("too late"), timeout=1.0, metadata=metadata)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Accepted or not, nothing may stay in between.
    jobs = "SELECT count(*) FROM generation.jobs WHERE account_id = $1"
    held = "SELECT count(*) FROM payment.holds WHERE account_id = $1 AND state = 'held'"
    until(
        lambda: calm.value(held, person.account_id) == 0 or calm.value(jobs, person.account_id) == 1,
        "the hold to be given back or the job to be there",
    )
    assert_invariants(calm)


def _all_open(person: Person) -> list[Job]:
    request = generation_service_pb2.ListJobsRequest(states=[1, 2])
    return list(person.generation.ListJobs(request, timeout=10, metadata=person.metadata).jobs)
