"""The queue's plain parts: the encoding of jobs, the policy, the names of keys."""

import dataclasses
import pickle
import re
from uuid import UUID

import pytest
from arq.jobs import DeserializationError, deserialize_job
from hypothesis import given
from hypothesis import strategies as st

from svc_common.queue import DEFAULT_TIERS, FUNCTION_NAME, Claim, QueuedJob, QueuePolicy, TierPolicy
from svc_common.queue.keys import Key, lua_constants
from svc_common.queue.payload import decode_job, deserialize, encode_job, serialize
from svc_common.queue.scripts import QueueScripts, script_source
from tests.factories.queue import queued_job

jobs = st.builds(
    QueuedJob,
    job_id=st.uuids(),
    account_id=st.uuids(),
    tier=st.sampled_from([tier.name for tier in DEFAULT_TIERS]),
    model_id=st.text(min_size=1),
    cost_millicredits=st.integers(1, 10**12),
    running_limit=st.integers(1, 1_000),
    create_time_ms=st.integers(1, 4 * 10**12),
    operation_kind=st.text(),
    operation=st.binary(),
)


@given(jobs)
def test_job_survives_its_encoding(job: QueuedJob) -> None:
    assert decode_job(encode_job(job)) == job


@given(jobs)
def test_arq_reads_the_encoding_as_its_own(job: QueuedJob) -> None:
    definition = deserialize_job(encode_job(job), deserializer=deserialize)
    assert definition.function == FUNCTION_NAME
    assert UUID(definition.kwargs["job_id"]) == job.job_id
    assert round(definition.enqueue_time.timestamp() * 1000) == job.create_time_ms


def test_record_of_an_earlier_release_has_no_operation() -> None:
    record = deserialize(encode_job(queued_job()))
    for name in ("operation_kind", "operation"):
        del record["k"][name]
    found = decode_job(serialize(record))
    assert (found.operation_kind, found.operation) == ("", b"")


def test_pickled_record_is_refused() -> None:
    with pytest.raises(DeserializationError):
        decode_job(pickle.dumps({"f": FUNCTION_NAME, "a": (), "k": {}, "t": None, "et": 1}))


@pytest.mark.parametrize("field", ["cost_millicredits", "running_limit", "create_time_ms"])
def test_job_that_could_never_run_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(queued_job(), **{field: 0})


def test_holder_names_worker_and_fence() -> None:
    assert Claim(queued_job(), "worker-0", 1_790_000_000_000_001).holder == "worker-0:1790000000000001"


@pytest.mark.parametrize("name", ["", "Free", "a:b", "a'", "1st"])
def test_tier_name_that_is_unsafe_in_a_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tier name"):
        TierPolicy(name, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiers": ()}, "distinct"),
        ({"tiers": (DEFAULT_TIERS[0], DEFAULT_TIERS[0])}, "distinct"),
        ({"guard_interval": 0}, "guard_interval"),
        ({"affinity_window": 0}, "affinity_window"),
        ({"affinity_slack_millicredits": -1}, "negative"),
        ({"max_pass_overs": -1}, "negative"),
    ],
)
def test_policy_out_of_range_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QueuePolicy(), **change)


def test_longest_wait_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="longest wait"):
        TierPolicy("free", 0)


def test_key_prefixes_cannot_be_mistaken_for_each_other() -> None:
    names = [key.value for key in Key]
    prefixes = [name for name in names if name.endswith(":")]
    assert not [(name, prefix) for name in names for prefix in prefixes if name != prefix and name.startswith(prefix)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", QueueScripts.__slots__)
def test_scripts_spell_no_key_themselves(name: str) -> None:
    source = script_source(name, QueuePolicy()).removeprefix(lua_constants())
    assert re.findall(r"'(?:arq|queue):[^']*'", source) == []
