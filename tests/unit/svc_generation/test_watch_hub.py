"""The hub wakes the streams that have something to read, and no others."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from svc_common.clock import new_id
from svc_common.redis_client import connect
from svc_generation.store.models import Job
from svc_generation.usecases.watch_hub import Mailbox, WatchHub


class Newest:
    """The newest event numbers as PostgreSQL would tell them, and what was asked for."""

    def __init__(self) -> None:
        self.numbers: dict[UUID, int] = {}
        self.asked: list[tuple[set[UUID], set[UUID]]] = []

    async def __call__(self, accounts: Collection[UUID], jobs: Collection[UUID]) -> dict[UUID, int]:
        self.asked.append((set(accounts), set(jobs)))
        return {owner: self.numbers[owner] for owner in (*accounts, *jobs) if owner in self.numbers}


@pytest.fixture
def newest() -> Newest:
    return Newest()


@pytest.fixture
async def hub(newest: Newest) -> AsyncIterator[WatchHub]:
    """A hub whose messages are all lost: its listener never gets a connection."""
    async with connect("redis://127.0.0.1:1") as redis:
        yield WatchHub(redis, newest)


def is_told(mailbox: Mailbox) -> bool:
    """Tells whether a stream would read its row now, and lets it do so."""
    return mailbox.take().changed


async def test_poll_wakes_the_streams_that_are_behind_and_each_once(hub: WatchHub, newest: Newest) -> None:
    account, ran, waits = new_id(), new_id(), new_id()
    async with AsyncExitStack() as stack:
        of_ran, of_waits, of_all = [
            await stack.enter_async_context(hub.open(account, job_id)) for job_id in (ran, waits, None)
        ]
        of_ran.note_read(1)
        of_waits.note_read(2)
        of_all.note_read(2)
        newest.numbers = {account: 3, ran: 3, waits: 2}
        await hub.catch_up()
        assert [is_told(mailbox) for mailbox in (of_ran, of_waits, of_all)] == [True, False, True]
        await hub.catch_up()
        assert [is_told(mailbox) for mailbox in (of_ran, of_waits, of_all)] == [False, False, False]
    assert newest.asked == [({account}, {ran, waits})] * 2


async def test_poll_leaves_a_thousand_streams_alone_that_have_just_read(hub: WatchHub, newest: Newest) -> None:
    async with AsyncExitStack() as stack:
        mailboxes = []
        for _ in range(1000):
            job_id = new_id()
            mailbox = await stack.enter_async_context(hub.open(new_id(), job_id))
            mailbox.note_read(1)
            newest.numbers[job_id] = 1
            mailboxes.append(mailbox)
        await hub.catch_up()
        assert not any(is_told(mailbox) for mailbox in mailboxes)


async def test_poll_asks_nothing_when_nobody_watches(hub: WatchHub, newest: Newest) -> None:
    await hub.catch_up()
    assert newest.asked == []


def job_row(account_id: UUID, job_id: UUID, sequence: int) -> Job:
    return Job(account_id=account_id, job_id=job_id, last_sequence=sequence)


async def test_row_is_handed_to_the_streams_of_its_job_only(hub: WatchHub) -> None:
    account, stranger, job_id = new_id(), new_id(), new_id()
    async with AsyncExitStack() as stack:
        own, sibling, of_all, foreign = [
            await stack.enter_async_context(hub.open(owner, watched))
            for owner, watched in ((account, job_id), (account, new_id()), (account, None), (stranger, job_id))
        ]
        row = job_row(account, job_id, 4)
        hub.hand_over(row)
        assert own.take() == ([], row, False, False)
        assert [mailbox.take() for mailbox in (sibling, of_all, foreign)] == [([], None, False, False)] * 3


async def test_hint_of_a_change_that_was_handed_over_wakes_nobody_again(hub: WatchHub) -> None:
    account, job_id = new_id(), new_id()
    async with hub.open(account, job_id) as mailbox, hub.open(account, None) as of_all:
        hub.hand_over(job_row(account, job_id, 4))
        hub.on_change(account, 4)
        mail = mailbox.take()
        assert mail.row is not None
        assert not mail.changed
        assert is_told(of_all)
        assert not is_told(mailbox)


async def test_newer_change_takes_the_place_of_a_row_and_an_older_row_of_none(hub: WatchHub) -> None:
    account, job_id = new_id(), new_id()
    async with hub.open(account, job_id) as mailbox:
        hub.hand_over(job_row(account, job_id, 4))
        hub.on_change(account, 5)
        assert mailbox.take() == ([], None, True, False), "the row that was handed over is old"
        hub.hand_over(job_row(account, job_id, 4))
        assert mailbox.take() == ([], None, False, False)
        hub.on_change(account, 0)
        hub.hand_over(job_row(account, job_id, 6))
        assert mailbox.take() == ([], None, True, False), "what changed may be newer than the row"
