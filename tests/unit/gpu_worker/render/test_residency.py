"""Residency: who stays in which memory, who leaves, and that a failure leaves everything as it should be."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu_worker.models.files import ModelFile, ModelSpec
from gpu_worker.render.residency import Residency


@dataclass(frozen=True, slots=True)
class Weightless:
    """A host copy that takes no memory, but says so."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Placed:
    """What the device holds of a host copy."""

    host: Weightless


class Disk:
    """Loads weightless models, counting, and remembering what was resident meanwhile."""

    def __init__(
        self, *, device_budget_bytes: int = 100, host_budget_bytes: int = 100, shared_memory: bool = False
    ) -> None:
        self.loads: list[str] = []
        self.placed: list[str] = []
        self.during_load: list[frozenset[str]] = []
        self.during_place: list[frozenset[str]] = []
        self.residency: Residency[Weightless, Placed] = Residency(
            self.load,
            self.place,
            device_budget_bytes=device_budget_bytes,
            host_budget_bytes=host_budget_bytes,
            shared_memory=shared_memory,
        )

    def load(self, spec: ModelSpec) -> Weightless:
        self.loads.append(spec.model_id)
        self.during_load.append(self.residency.host_models)
        if spec.family == "broken":
            raise OSError("disk")
        # A revision "2" needs twice the room in memory that its files say.
        return Weightless(spec.model_id, sum(file.size_bytes for file in spec.files) * int(spec.revision))

    def place(self, host: Weightless) -> Placed:
        self.placed.append(host.name)
        self.during_place.append(self.residency.loaded_models)
        if host.name == "unplaceable":
            raise MemoryError("device")
        return Placed(host)


def model(model_id: str, size_bytes: int = 10, *, revision: str = "1", family: str = "tiny") -> ModelSpec:
    return ModelSpec(model_id, revision, family, (ModelFile("a.safetensors", size_bytes, ""),))


def got(disk: Disk, *names: str) -> Residency[Weightless, Placed]:
    for name in names:
        assert disk.residency.get(model(name)).host.name == name
    return disk.residency


def test_model_is_loaded_and_placed_once_when_it_is_used_again() -> None:
    disk = Disk()
    assert disk.residency.get(model("a")) is disk.residency.get(model("a"))
    assert (disk.loads, disk.placed) == (["a"], ["a"])


def test_least_recently_used_model_leaves_the_device_when_room_is_needed() -> None:
    assert got(Disk(device_budget_bytes=20), "a", "b", "a", "c").loaded_models == {"a", "c"}


def test_model_that_left_the_device_comes_back_without_disk() -> None:
    disk = Disk(device_budget_bytes=10)
    residency = got(disk, "a", "b", "a")
    assert disk.loads == ["a", "b"]
    assert disk.placed == ["a", "b", "a"]
    assert (residency.loaded_models, residency.host_models) == ({"a"}, {"a", "b"})


def test_least_recently_used_host_copy_leaves_and_its_model_stays_on_the_device() -> None:
    residency = got(Disk(host_budget_bytes=20), "a", "b", "c")
    assert residency.host_models == {"b", "c"}
    assert residency.loaded_models == {"a", "b", "c"}


def test_room_is_made_before_the_next_model_is_loaded_and_placed() -> None:
    disk = Disk(device_budget_bytes=20, host_budget_bytes=20)
    got(disk, "a", "b", "c")
    assert disk.during_load == [set(), {"a"}, {"b"}]
    assert disk.during_place == [set(), {"a"}, {"b"}]


def test_model_larger_than_both_budgets_is_kept_alone_on_the_device_only() -> None:
    disk = Disk(device_budget_bytes=20, host_budget_bytes=20)
    got(disk, "a")
    disk.residency.get(model("huge", 500))
    assert disk.residency.loaded_models == {"huge"}
    assert disk.residency.host_models == frozenset()


def test_model_that_needs_more_than_its_files_say_evicts_others_after_the_load() -> None:
    disk = Disk(device_budget_bytes=40, host_budget_bytes=40)
    got(disk, "a", "b")
    disk.residency.get(model("wide", 20, revision="2"))
    assert disk.residency.loaded_models == {"wide"}
    assert disk.residency.host_models == {"wide"}


def test_revisions_of_one_model_are_different_models() -> None:
    disk = Disk()
    assert disk.residency.get(model("a")) is not disk.residency.get(model("a", revision="2"))
    assert disk.loads == ["a", "a"]
    assert disk.residency.loaded_models == {"a"}


@pytest.mark.parametrize("shared_memory", [False, True])
def test_failed_load_is_not_remembered_as_loaded(shared_memory: bool) -> None:
    disk = Disk(shared_memory=shared_memory)
    got(disk, "a")
    for attempt in (disk.residency.get, disk.residency.get, disk.residency.prefetch):
        with pytest.raises(OSError, match="disk"):
            attempt(model("b", family="broken"))
    assert (disk.residency.loaded_models, disk.residency.host_models) == ({"a"}, {"a"})
    assert disk.loads == ["a", "b", "b", "b"]


def test_failed_placing_keeps_the_host_copy_and_is_tried_again() -> None:
    disk = Disk()
    for _ in range(2):
        with pytest.raises(MemoryError, match="device"):
            disk.residency.get(model("unplaceable"))
    assert (disk.residency.loaded_models, disk.residency.host_models) == (frozenset(), {"unplaceable"})
    assert disk.loads == ["unplaceable"]


def test_prefetched_model_is_in_host_memory_and_got_without_a_load() -> None:
    disk = Disk()
    disk.residency.prefetch(model("a"))
    assert (disk.residency.loaded_models, disk.residency.host_models) == (frozenset(), {"a"})
    got(disk, "a")
    assert disk.loads == ["a"]


def test_prefetch_takes_the_room_of_a_host_copy_whose_model_stays_on_the_device() -> None:
    disk = Disk(device_budget_bytes=10, host_budget_bytes=10)
    got(disk, "a").prefetch(model("b"))
    assert (disk.residency.loaded_models, disk.residency.host_models) == ({"a"}, {"b"})
    assert disk.residency.get(model("b")).host.name == "b"
    assert disk.loads == ["a", "b"]


@pytest.mark.parametrize("name", ["a", "huge"])
def test_prefetch_reads_nothing_when_the_model_is_resident_or_does_not_fit(name: str) -> None:
    disk = Disk(host_budget_bytes=20)
    got(disk, "a").prefetch(model(name, 10 if name == "a" else 21))
    assert disk.loads == ["a"]
    assert disk.residency.host_models == {"a"}


def test_memory_that_is_shared_counts_a_model_once() -> None:
    residency = got(Disk(device_budget_bytes=20, host_budget_bytes=0, shared_memory=True), "a", "b")
    assert residency.loaded_models == residency.host_models == {"a", "b"}


def test_prefetch_into_shared_memory_evicts_others_but_never_the_model_in_use() -> None:
    disk = Disk(device_budget_bytes=20, shared_memory=True)
    residency = got(disk, "a", "b", "a")
    residency.prefetch(model("c"))
    assert residency.loaded_models == {"a", "c"}
    residency.prefetch(model("large", 11))
    assert residency.loaded_models == {"a", "c"}
    assert disk.loads == ["a", "b", "c"]


def test_device_that_is_released_is_filled_again_from_host_copies() -> None:
    disk = Disk(host_budget_bytes=10)
    residency = got(disk, "a", "b")
    residency.release_device()
    assert (residency.loaded_models, residency.host_models) == (frozenset(), {"b"})
    got(disk, "b", "a")
    assert disk.loads == ["a", "b", "a"]


def test_shared_memory_that_is_released_is_empty() -> None:
    residency = got(Disk(shared_memory=True), "a", "b")
    residency.release_device()
    assert (residency.loaded_models, residency.host_models) == (frozenset(), frozenset())


def test_clear_lets_go_of_everything() -> None:
    disk = Disk()
    got(disk, "a").clear()
    assert (disk.residency.loaded_models, disk.residency.host_models) == (frozenset(), frozenset())
    got(disk, "a")
    assert disk.loads == ["a", "a"]


SIZES = {"a": 1, "b": 2, "c": 3, "d": 5, "e": 8}


class ResidencyMachine(RuleBasedStateMachine):
    """Compares a residency with two plain lists of names, least recently used first."""

    @initialize(device=st.integers(0, 12), host=st.integers(0, 12), shared_memory=st.booleans())
    def start(self, device: int, host: int, shared_memory: bool) -> None:
        self.disk = Disk(device_budget_bytes=device, host_budget_bytes=host, shared_memory=shared_memory)
        self.device_budget, self.host_budget, self.shared = device, host, shared_memory
        self.order: list[str] = []  # of use, in either memory
        self.on_device: set[str] = set()
        self.on_host: set[str] = set()
        self.in_use: str | None = None
        self.loads = 0

    @rule(name=st.sampled_from(sorted(SIZES)))
    def get(self, name: str) -> None:
        assert self.disk.residency.get(model(name, SIZES[name])).host.name == name
        if name not in self.on_device | self.on_host:
            self.loads += 1
            self.forget(self.on_host, self.host_limit() - SIZES[name])
            self.on_host.add(name)
        if name not in self.on_device:
            if not self.shared:
                self.forget(self.on_device, self.device_budget - SIZES[name])
            self.on_device.add(name)
        self.touch(name)
        self.in_use = name
        self.forget(self.on_host, self.host_limit(), keep=name if self.shared else None)

    @rule(name=st.sampled_from(sorted(SIZES)))
    def prefetch(self, name: str) -> None:
        self.disk.residency.prefetch(model(name, SIZES[name]))
        kept = self.in_use if self.shared and self.in_use in self.on_host else None
        room = self.host_limit() - (SIZES[kept] if kept else 0)
        if name in self.on_device | self.on_host or SIZES[name] > room:
            return
        self.loads += 1
        self.forget(self.on_host, self.host_limit() - SIZES[name], keep=kept)
        self.on_host.add(name)
        self.touch(name)

    @rule()
    def release_device(self) -> None:
        self.disk.residency.release_device()
        self.on_device.clear()
        self.in_use = None
        if self.shared:
            self.on_host.clear()

    @precondition(lambda self: len(self.order) > 3)
    @rule()
    def clear(self) -> None:
        self.disk.residency.clear()
        self.on_device.clear()
        self.on_host.clear()
        self.in_use = None

    @invariant()
    def agrees_with_the_lists(self) -> None:
        residency = self.disk.residency
        assert residency.host_models == self.on_host
        assert residency.loaded_models == (self.on_host if self.shared else self.on_device)
        assert len(self.disk.loads) == self.loads

    @invariant()
    def keeps_its_budgets(self) -> None:
        on_device = self.disk.residency.loaded_models
        over = sum(SIZES[name] for name in on_device) > self.device_budget
        assert not over or on_device == {self.in_use}
        if not self.shared:
            assert sum(SIZES[name] for name in self.disk.residency.host_models) <= self.host_budget

    def host_limit(self) -> int:
        return self.device_budget if self.shared else self.host_budget

    def touch(self, name: str) -> None:
        self.order = [*(other for other in self.order if other != name), name]

    def forget(self, memory: set[str], limit: int, keep: str | None = None) -> None:
        for name in [name for name in self.order if name in memory and name != keep]:
            if sum(SIZES[other] for other in memory) > limit:
                memory.discard(name)
                if self.shared:
                    self.on_device.discard(name)


ResidencyMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_residency_agrees_with_plain_lists = ResidencyMachine.TestCase
