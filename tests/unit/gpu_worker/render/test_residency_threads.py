"""Residency under two threads: a prefetch beside the render thread. Events order the threads; nothing sleeps."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.render.residency import Residency

DEADLINE_S = 10


class Weightless:
    """A host copy of ten bytes."""

    size_bytes = 10

    def __init__(self, name: str) -> None:
        self.name = name


class SlowDisk:
    """Loads of a model stop until the test lets them end."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.began = {name: threading.Event() for name in "abc"}
        self.may_end = {name: threading.Event() for name in "abc"}
        self.broken: set[str] = set()
        self._lock = threading.Lock()

    def load(self, spec: ModelSpec) -> Weightless:
        with self._lock:
            self.loads.append(spec.model_id)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.began[spec.model_id].set()
        assert self.may_end[spec.model_id].wait(DEADLINE_S)
        with self._lock:
            self.at_once -= 1
        if spec.model_id in self.broken:
            self.broken.discard(spec.model_id)
            raise OSError("disk")
        return Weightless(spec.model_id)


class WatchedCondition(threading.Condition):
    """Tells when a thread begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        def watched() -> bool:
            done = predicate()
            if not done:
                self.waiting.set()
            return done

        return super().wait_for(watched, timeout)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def condition() -> WatchedCondition:
    return WatchedCondition()


@pytest.fixture
def residency(disk: SlowDisk, condition: WatchedCondition) -> Residency[Weightless, str]:
    residency: Residency[Weightless, str] = Residency(
        disk.load, lambda host: host.name, device_budget_bytes=10, host_budget_bytes=20
    )
    residency._changed = condition
    return residency


@pytest.fixture
def threads(disk: SlowDisk) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool
        for event in disk.may_end.values():
            event.set()


def model(name: str) -> ModelSpec:
    return ModelSpec(name, "1", "tiny", (ModelFile("a.safetensors", 10, ""),))


def begun_prefetch(
    name: str, disk: SlowDisk, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> "Future[None]":
    prefetch = threads.submit(residency.prefetch, model(name))
    assert disk.began[name].wait(DEADLINE_S)
    return prefetch


def test_get_waits_for_the_prefetch_of_its_model_and_does_not_repeat_it(
    disk: SlowDisk, condition: WatchedCondition, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    prefetch = begun_prefetch("a", disk, residency, threads)
    render = threads.submit(residency.get, model("a"))
    assert condition.waiting.wait(DEADLINE_S)
    disk.may_end["a"].set()
    assert render.result(DEADLINE_S) == "a"
    prefetch.result(DEADLINE_S)
    assert disk.loads == ["a"]


def test_get_loads_the_model_itself_when_the_prefetch_it_waited_for_fails(
    disk: SlowDisk, condition: WatchedCondition, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    disk.broken.add("a")
    prefetch = begun_prefetch("a", disk, residency, threads)
    render = threads.submit(residency.get, model("a"))
    assert condition.waiting.wait(DEADLINE_S)
    disk.may_end["a"].set()
    assert render.result(DEADLINE_S) == "a"
    with pytest.raises(OSError, match="disk"):
        prefetch.result(DEADLINE_S)
    assert disk.loads == ["a", "a"]


def test_second_prefetch_of_a_model_returns_at_once_while_the_first_loads(
    disk: SlowDisk, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    first = begun_prefetch("a", disk, residency, threads)
    residency.prefetch(model("a"))
    assert disk.loads == ["a"]
    disk.may_end["a"].set()
    first.result(DEADLINE_S)


def test_resident_model_is_got_while_another_is_being_prefetched(
    disk: SlowDisk, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    disk.may_end["a"].set()
    residency.get(model("a"))
    prefetch = begun_prefetch("b", disk, residency, threads)
    assert threads.submit(residency.get, model("a")).result(DEADLINE_S) == "a"
    assert not prefetch.done()
    disk.may_end["b"].set()
    prefetch.result(DEADLINE_S)
    assert residency.loaded_models == {"a"}
    assert residency.host_models == {"a", "b"}


def test_room_of_a_load_in_progress_is_not_given_to_another(
    disk: SlowDisk, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    first = begun_prefetch("a", disk, residency, threads)
    second = threads.submit(residency.prefetch, model("b"))
    disk.may_end["b"].set()
    residency.prefetch(ModelSpec("c", "1", "tiny", (ModelFile("a.safetensors", 11, ""),)))
    disk.may_end["a"].set()
    first.result(DEADLINE_S)
    second.result(DEADLINE_S)
    assert sorted(disk.loads) == ["a", "b"]
    assert residency.host_models == {"a", "b"}


def test_loads_of_different_models_run_one_after_the_other(
    disk: SlowDisk, residency: Residency[Weightless, str], threads: ThreadPoolExecutor
) -> None:
    prefetch = begun_prefetch("a", disk, residency, threads)
    render = threads.submit(residency.get, model("b"))
    disk.may_end["b"].set()
    disk.may_end["a"].set()
    assert render.result(DEADLINE_S) == "b"
    prefetch.result(DEADLINE_S)
    assert disk.loads == ["a", "b"]
    assert disk.most_at_once == 1


def test_host_copy_that_is_being_placed_is_not_evicted_by_a_prefetch(
    disk: SlowDisk, threads: ThreadPoolExecutor
) -> None:
    placing, may_place = threading.Event(), threading.Event()

    def place(host: Weightless) -> str:
        placing.set()
        assert may_place.wait(DEADLINE_S)
        return host.name

    residency: Residency[Weightless, str] = Residency(disk.load, place, device_budget_bytes=10, host_budget_bytes=10)
    for event in disk.may_end.values():
        event.set()
    render = threads.submit(residency.get, model("a"))
    assert placing.wait(DEADLINE_S)
    residency.prefetch(model("b"))
    assert (disk.loads, residency.host_models) == (["a"], {"a"})
    may_place.set()
    assert render.result(DEADLINE_S) == "a"
    residency.prefetch(model("b"))
    assert residency.host_models == {"b"}
