"""Which of two states of a subscription is the newer one: reports and answers that overtake each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_payment.domain.billing import Catalogue, PlanState, State, Status, Subscription, is_doubtful, reduce

CATALOGUE = Catalogue({}, {})
# A change of the subscription with the seconds that passed before, or what else happens with a number that picks one.
Step = tuple[Status | str, int]
START = datetime(2026, 11, 1, tzinfo=UTC)


def second(number: int) -> datetime:
    """Returns a moment of the provider's clock, which has whole seconds."""
    return START + timedelta(seconds=number)


def tick(number: int) -> datetime:
    """Returns a moment of our clock."""
    return START + timedelta(days=1, milliseconds=number)


ACTIVE = PlanState("7", "starter", Status.ACTIVE, second(0))
CANCELLED = PlanState("7", "starter", Status.CANCELLED, second(0))


def after(*events: PlanState) -> State:
    """Returns what is known after events that came one tick after another."""
    state = State()
    for number, event in enumerate(events):
        assert not is_doubtful(state, event)
        state, _ = reduce(state, event, CATALOGUE, tick(number))
    return state


def status_of(state: State) -> Status:
    return state.subscriptions["7"].status


@pytest.mark.parametrize("ask_time", [None, tick(0), tick(99)])
def test_state_of_a_later_second_is_newer_however_it_came(ask_time: datetime | None) -> None:
    later = replace(CANCELLED, update_time=second(1), ask_time=ask_time)

    assert status_of(after(ACTIVE, later)) is Status.CANCELLED


@pytest.mark.parametrize("ask_time", [None, tick(0), tick(99)])
def test_state_of_an_earlier_second_changes_nothing_however_it_came(ask_time: datetime | None) -> None:
    earlier = replace(CANCELLED, update_time=second(-1), ask_time=ask_time)

    assert status_of(after(ACTIVE, earlier)) is Status.ACTIVE


def test_report_of_the_same_second_is_doubtful_and_changes_nothing() -> None:
    known = after(ACTIVE)

    state, effects = reduce(known, CANCELLED, CATALOGUE, tick(1))

    assert is_doubtful(known, CANCELLED)
    assert (state, effects) == (known, ())


@pytest.mark.parametrize(("asked", "is_newer"), [(0, False), (6, False), (7, True), (8, True)])
def test_answer_of_the_same_second_is_newer_if_it_was_asked_for_after_the_known_one_was_learnt(
    asked: int, is_newer: bool
) -> None:
    known, _ = reduce(State(), ACTIVE, CATALOGUE, tick(7))
    answer = replace(CANCELLED, ask_time=tick(asked))

    state, _ = reduce(known, answer, CATALOGUE, tick(9))

    assert is_doubtful(known, answer) is not is_newer
    assert status_of(state) is (Status.CANCELLED if is_newer else Status.ACTIVE)
    assert state.subscriptions["7"].learn_time == (tick(9) if is_newer else tick(7))


@pytest.mark.parametrize("event", [ACTIVE, replace(ACTIVE, ask_time=tick(0))])
def test_same_state_again_is_never_doubtful(event: PlanState) -> None:
    known = after(ACTIVE)

    assert not is_doubtful(known, event)
    assert reduce(known, event, CATALOGUE, tick(9)) == (known, ())


def test_only_an_answer_brings_an_expired_subscription_back() -> None:
    known = after(replace(ACTIVE, status=Status.EXPIRED))
    later = replace(ACTIVE, update_time=second(1))

    still, _ = reduce(known, later, CATALOGUE, tick(1))
    back, _ = reduce(known, replace(later, ask_time=tick(1)), CATALOGUE, tick(2))

    assert is_doubtful(known, later)
    assert (status_of(still), status_of(back)) == (Status.EXPIRED, Status.ACTIVE)


@dataclass
class World:
    """A provider whose subscription changes, its reports and answers on their way to us, and what we make of them."""

    truth: PlanState = ACTIVE
    reports: list[PlanState] = field(default_factory=lambda: [ACTIVE])
    questions: list[datetime] = field(default_factory=list)
    answers: list[PlanState] = field(default_factory=list)
    known: State = field(default_factory=State)
    ticks: int = 0

    def do(self, step: Step) -> None:
        match step:
            case Status() as status, seconds:
                update_time = self.truth.update_time + timedelta(seconds=seconds)
                self.truth = replace(self.truth, status=status, update_time=update_time)
                self.reports.append(self.truth)
            case "ask", _:
                self.questions.append(self._now())
            case "look", number if self.questions:
                # The provider looks at its books at any time between the question and the answer.
                asked = self.questions.pop(number % len(self.questions))
                self.answers.append(replace(self.truth, ask_time=asked))
            case "report", number:
                self.learn(self.reports[number % len(self.reports)])
            case "answer", number if self.answers:
                self.learn(self.answers[number % len(self.answers)])

    def learn(self, event: PlanState) -> None:
        """Applies an event as the use case does: where it is doubtful, the provider is asked at once."""
        if is_doubtful(self.known, event):
            event = replace(self.truth, ask_time=self._now())
            assert not is_doubtful(self.known, event)
        self.known, _ = reduce(self.known, event, CATALOGUE, self._now())

    def _now(self) -> datetime:
        self.ticks += 1
        return tick(self.ticks)


CHANGES = st.tuples(st.sampled_from([Status.ACTIVE, Status.CANCELLED, Status.PAST_DUE]), st.sampled_from([0, 0, 1]))
STEPS = st.lists(
    st.one_of(CHANGES, st.tuples(st.sampled_from(["ask", "look", "report", "answer"]), st.integers(0, 9))), max_size=40
)


@given(STEPS, st.randoms(use_true_random=False))
def test_in_the_end_what_is_known_is_true_however_reports_and_answers_overtook_each_other(
    steps: Iterable[Step], chance: Random
) -> None:
    world = World()
    for step in steps:
        world.do(step)
    rest = [*world.reports, *world.answers]
    chance.shuffle(rest)
    for event in rest:
        world.learn(event)

    known = world.known.subscriptions["7"]
    assert (known.status, known.update_time) == (world.truth.status, world.truth.update_time)


@given(STEPS)
def test_what_is_known_is_never_of_an_earlier_second_than_before(steps: Iterable[Step]) -> None:
    world, before = World(), Subscription("7").update_time
    for step in steps:
        world.do(step)
        now = world.known.subscriptions.get("7", Subscription("7")).update_time
        assert now >= before
        before = now
