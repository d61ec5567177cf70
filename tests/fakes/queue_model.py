"""The rules of the job queue in plain Python: no indexes, no Redis, every question answered by looking at all jobs.

It is the measure of the real queue in `test_queue_model.py`, and written from the rules, not from the scripts.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from svc_common.queue import Claim, QueuedJob, QueuePolicy

Line = tuple[str, UUID]
"""(tier, account)"""


@dataclass
class Entry:
    """A job that the queue knows."""

    job: QueuedJob
    void_below: float = 0
    """Fences below this one are outdated; that of the latest lease is valid."""
    lease_fence: int | None = None
    lapses_ms: int = 0
    passed_over: int = 0


class QueueModel:
    """What the queue should answer. Fences are those that the real queue gave out."""

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.latest_fence = 0
        self.forget_everything()

    def forget_everything(self) -> None:
        """Redis lost its data."""
        self.entries: dict[UUID, Entry] = {}
        self.ended: dict[UUID, float] = {}
        self.served: Counter[Line] = Counter()
        self.clock: Counter[str] = Counter()
        self.eligible: set[Line] = set()
        self.claim_count = 0

    def enqueue(self, job: QueuedJob) -> bool:
        if job.job_id in self.entries:
            return False
        self.entries[job.job_id] = Entry(job)
        self._settle()
        return True

    def choose(self, now_ms: int, loaded_models: Collection[str]) -> QueuedJob | None:
        """Puts lapsed jobs back and returns the job that must be claimed next; `record_claim` claims it."""
        for tier in self.policy.tier_names:
            lapsed = [e for e in self._leased() if e.job.tier == tier and e.lapses_ms <= now_ms]
            for entry in sorted(lapsed, key=lambda e: (e.lapses_ms, str(e.job.job_id)))[:8]:
                self._put_back(entry)
        chosen = self._overdue(now_ms) or self._fairest(loaded_models)
        return chosen.job if chosen else None

    def record_claim(self, claim: Claim, lapses_ms: int) -> None:
        entry = self.entries[claim.job.job_id]
        line = _line(entry.job)
        least_before = self._least(line[0])
        self.latest_fence = claim.fence
        entry.lease_fence, entry.void_below, entry.lapses_ms = claim.fence, claim.fence, lapses_ms
        self.claim_count += 1
        self.served[line] += entry.job.cost_millicredits
        self._settle()
        least = self._least(line[0])
        self.clock[line[0]] = max(self.clock[line[0]], least_before if least is None else least)

    def is_own(self, claim: Claim) -> bool:
        entry = self.entries.get(claim.job.job_id)
        if entry and entry.lease_fence is not None:
            return entry.lease_fence == claim.fence
        void_below = entry.void_below if entry else 0
        return self.ended.get(claim.job.job_id, 0) < claim.fence >= void_below

    def renew(self, claim: Claim, lapses_ms: int) -> bool:
        if not self.is_own(claim):
            return False
        entry = self.entries.get(claim.job.job_id)
        if entry is None:
            entry = self.entries[claim.job.job_id] = Entry(claim.job)
        elif entry.lease_fence is None:
            self._charge(_line(entry.job), entry.job.cost_millicredits)  # it was refunded, or enqueued anew
        entry.lease_fence, entry.void_below = claim.fence, claim.fence
        entry.lapses_ms = lapses_ms
        self._settle()
        return True

    def finish(self, claim: Claim) -> bool:
        if not self.is_own(claim):
            return False
        self._forget(claim.job.job_id, claim.fence)
        return True

    def hand_back(self, claim: Claim) -> bool:
        if not self.is_own(claim):
            return False
        entry = self.entries.setdefault(claim.job.job_id, Entry(claim.job))
        if entry.lease_fence is not None:
            self._put_back(entry)
        entry.void_below = self.latest_fence + 0.5  # the real queue draws a fence here that nobody gets
        self._settle()
        return True

    def remove(self, job_id: UUID, now_ms: int) -> bool:
        entry = self.entries.get(job_id)
        if entry is None or (entry.lease_fence is not None and entry.lapses_ms > now_ms):
            return False
        self._forget(job_id, self.latest_fence + 0.5)
        return True

    def leased(self, now_ms: int) -> set[UUID]:
        return {entry.job.job_id for entry in self._leased() if entry.lapses_ms > now_ms}

    def depths(self) -> dict[str, tuple[int, int]]:
        waiting = Counter(e.job.tier for e in self.entries.values() if e.lease_fence is None)
        running = Counter(e.job.tier for e in self._leased())
        return {tier: (waiting[tier], running[tier]) for tier in self.policy.tier_names}

    def _leased(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.lease_fence is not None]

    def _oldest(self, line: Line) -> Entry | None:
        waiting = [e for e in self.entries.values() if e.lease_fence is None and _line(e.job) == line]
        return min(waiting, key=lambda e: (e.job.create_time_ms, str(e.job.job_id)), default=None)

    def _settle(self) -> None:
        running = Counter(entry.job.account_id for entry in self._leased())
        eligible = set()
        for line in {_line(entry.job) for entry in self.entries.values()}:
            oldest = self._oldest(line)
            if oldest and running[line[1]] < oldest.job.running_limit:
                eligible.add(line)
        for line in eligible - self.eligible:
            self.served[line] = max(self.served[line], self.clock[line[0]])
        self.eligible = eligible

    def _charge(self, line: Line, cost: int) -> None:
        base = self.served[line] if line in self.eligible else max(self.served[line], self.clock[line[0]])
        self.served[line] = base + cost

    def _put_back(self, entry: Entry) -> None:
        entry.lease_fence = None
        self.served[_line(entry.job)] -= entry.job.cost_millicredits
        self._settle()

    def _forget(self, job_id: UUID, fence: float) -> None:
        self.entries.pop(job_id, None)
        self.ended[job_id] = fence
        self._settle()
        for tier in set(self.policy.tier_names) - {entry.job.tier for entry in self.entries.values()}:
            self.clock[tier] = max([self.clock[tier], *(t for line, t in self.served.items() if line[0] == tier)])

    def _least(self, tier: str) -> int | None:
        return min((self.served[line] for line in self.eligible if line[0] == tier), default=None)

    def _overdue(self, now_ms: int) -> Entry | None:
        if (self.claim_count + 1) % self.policy.guard_interval:
            return None
        candidates = []
        for index, tier in enumerate(self.policy.tiers):
            for line in self.eligible:
                oldest = self._oldest(line) if line[0] == tier.name else None
                if oldest and tier.max_wait_ms and now_ms - oldest.job.create_time_ms > tier.max_wait_ms:
                    candidates.append((oldest.job.create_time_ms, index, str(line[1]), oldest))
        return min(candidates, key=lambda c: c[:3])[3] if candidates else None

    def _fairest(self, loaded_models: Collection[str]) -> Entry | None:
        for tier in self.policy.tier_names:
            lines = sorted((self.served[line], str(line[1]), line) for line in self.eligible if line[0] == tier)
            if lines:
                return self._preferred([line for _, _, line in lines], loaded_models)
        return None

    def _preferred(self, lines: list[Line], loaded_models: Collection[str]) -> Entry:
        heads = [head for line in lines[: self.policy.affinity_window] if (head := self._oldest(line))]
        for index, head in enumerate(heads if loaded_models and len(heads) > 1 else []):
            lead = self.served[_line(head.job)] - self.served[lines[0]]
            if lead > self.policy.affinity_slack_millicredits:
                break
            if head.job.model_id in loaded_models or head.passed_over >= self.policy.max_pass_overs:
                for passed in heads[:index]:
                    passed.passed_over += 1
                return head
        return heads[0]


def _line(job: QueuedJob) -> Line:
    return job.tier, job.account_id
