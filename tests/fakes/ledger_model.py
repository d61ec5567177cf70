"""What the ledger must do, in plain Python and with nothing in common with it: the second opinion of its property tests."""

from dataclasses import dataclass, field

RANK = {"promotional": 1, "plan": 2, "purchased": 3}
NEVER = 10**9


@dataclass
class ModelGrant:
    kind: str
    amount: int
    remaining: int
    expires: int
    number: int
    is_lapsed: bool = False


@dataclass
class ModelHold:
    terms: tuple[int, int, int]
    amount: int
    slices: list[tuple[ModelGrant, int]]
    expires: int
    state: str = "held"
    settled: int = 0


@dataclass
class ModelAccount:
    """One account; times are ticks. A line of the journal is: kind, change of what is available, spent."""

    grants: dict[str, ModelGrant] = field(default_factory=dict)
    holds: dict[int, ModelHold] = field(default_factory=dict)
    expired: int = 0
    journal: list[tuple[str, int, int]] = field(default_factory=list)

    def spendable(self, now: int) -> list[ModelGrant]:
        usable = [grant for grant in self.grants.values() if grant.remaining and grant.expires > now]
        return sorted(usable, key=lambda grant: (RANK[grant.kind], grant.expires, grant.number))

    def available(self, now: int) -> int:
        return sum(grant.remaining for grant in self.spendable(now))

    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.state == "held")

    def lapse(self, now: int) -> None:
        due = [grant for grant in self.grants.values() if grant.expires <= now]
        if lost := sum(grant.remaining for grant in due):
            self.expired += lost
            self.journal.append(("expire", -lost, 0))
        for grant in due:
            grant.remaining, grant.is_lapsed = 0, True

    def grant(self, now: int, request: str, kind: str, amount: int, expires: int) -> str:
        self.lapse(now)
        if request in self.grants:
            first = self.grants[request]
            return "replayed" if (first.kind, first.amount, first.expires) == (kind, amount, expires) else "conflict"
        self.grants[request] = ModelGrant(kind, amount, amount, expires, len(self.grants))
        self.journal.append(("grant", amount, 0))
        return "granted"

    def reserve(self, now: int, hold: int, terms: tuple[int, int, int]) -> str:
        if hold in self.holds:
            return "replayed" if self.holds[hold].terms == terms else "conflict"
        self.lapse(now)
        requested, minimum, lifetime = terms
        wanted = min(requested, self.available(now))
        if wanted < minimum:
            return "insufficient"
        slices: list[tuple[ModelGrant, int]] = []
        for grant in self.spendable(now):
            taken = min(grant.remaining, wanted - sum(amount for _, amount in slices))
            if taken:
                slices.append((grant, taken))
                grant.remaining -= taken
        self.holds[hold] = ModelHold(terms, wanted, slices, now + lifetime)
        self.journal.append(("reserve", -wanted, 0))
        return "held"

    def close(self, now: int, hold_id: int, used: int) -> str:
        hold = self.holds.get(hold_id)
        if hold is None:
            return "missing"
        used = min(used, hold.amount)
        if hold.state != "held":
            return "replayed" if hold.settled == used else "conflict"
        self.lapse(now)
        hold.state, hold.settled = ("settled" if used else "released"), used
        returned = 0
        for grant, taken in hold.slices:
            back = taken - min(taken, used)
            used -= taken - back
            grant.remaining += 0 if grant.is_lapsed else back
            returned += 0 if grant.is_lapsed else back
            self.expired += back if grant.is_lapsed else 0
        self.journal.append(("settle" if hold.settled else "release", returned, hold.settled))
        return "closed"
