# ruff: noqa: S608 - the statements are constants of this file
"""The audit notices each way of tampering with the ledger, even by a superuser who takes the protections off first."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from svc_common.clock import new_id
from svc_payment.domain.ledger import GrantKind
from svc_payment.tasks import audit_some
from tests.factories.ledger import Ledger, hold_terms, ledger_in
from tests.harness_postgres import DatabaseFactory

# Turns triggers and foreign keys off for the connection.
_UNGUARDED = "SET session_replication_role = replica"


def _of(kind: str) -> str:
    numbers = f"SELECT account_id, sequence FROM payment.transactions WHERE kind = '{kind}'"
    return f"(account_id, sequence) IN ({numbers})"


CORRUPTIONS = {
    "a bumped balance": (
        "UPDATE payment.accounts SET available = available + 1",
        {"available_differs_from_journal"},
    ),
    "a bumped hold counter": (
        "UPDATE payment.accounts SET held = held + 1",
        {"held_differs_from_journal", "held_differs_from_holds"},
    ),
    "a bumped grant": (
        "UPDATE payment.grants SET remaining = remaining + 1 WHERE kind = 'plan'",
        {"grant_remaining_differs_from_journal"},
    ),
    "a grant made larger": (
        "UPDATE payment.grants SET amount = amount + 1 WHERE kind = 'plan'",
        {"grant_amount_differs_from_journal"},
    ),
    "a deleted grant": (
        "DELETE FROM payment.grants WHERE kind = 'plan'",
        {"grant_amount_differs_from_journal", "grant_remaining_differs_from_journal", "entry_of_foreign_grant"},
    ),
    "a bogus entry": (
        """
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, issued, available)
        SELECT account_id, 1, 99, grant_id, -5, 5 FROM payment.grants WHERE kind = 'plan'
        """,
        {
            "available_differs_from_journal",
            "grant_amount_differs_from_journal",
            "grant_remaining_differs_from_journal",
            "transaction_differs_from_entries",
        },
    ),
    "an entry of no transaction": (
        """
        INSERT INTO payment.entries (account_id, sequence, ordinal, grant_id, held, spent)
        SELECT account_id, 99, 1, grant_id, -5000, 5000 FROM payment.grants WHERE kind = 'plan'
        """,
        {"entry_without_transaction", "grant_below_zero", "held_differs_from_journal"},
    ),
    "an entry that doesn't balance": (
        "UPDATE payment.entries SET spent = spent + 1 WHERE " + _of("settle"),
        {"entry_not_balanced", "transaction_differs_from_entries", "hold_differs_from_closing"},
    ),
    "credits moved from one grant to the other": (
        "UPDATE payment.entries SET grant_id = (SELECT grant_id FROM payment.grants WHERE kind = 'purchased') WHERE "
        + _of("reserve"),
        {"grant_remaining_differs_from_journal"},
    ),
    "a tampered slice": (
        "UPDATE payment.entries SET held = held + 1, available = available - 1 WHERE " + _of("reserve"),
        {"hold_differs_from_slices", "transaction_differs_from_entries", "held_differs_from_journal"},
    ),
    "a deleted entry": (
        "DELETE FROM payment.entries WHERE " + _of("settle"),
        {"transaction_differs_from_entries", "hold_differs_from_closing", "held_differs_from_journal"},
    ),
    "a deleted transaction": (
        "DELETE FROM payment.transactions WHERE kind = 'release'",
        {"transaction_missing", "entry_without_transaction", "hold_differs_from_closing"},
    ),
    "a transaction that says another amount": (
        "UPDATE payment.transactions SET amount = amount + 1 WHERE kind = 'grant'",
        {"transaction_differs_from_entries"},
    ),
    "a settled amount made larger": (
        "UPDATE payment.holds SET settled = settled + 1 WHERE state = 'settled'",
        {"hold_differs_from_closing"},
    ),
    "a hold made larger": (
        "UPDATE payment.holds SET amount = amount + 1, requested = requested + 1 WHERE state = 'held'",
        {"hold_differs_from_slices", "held_differs_from_holds"},
    ),
    "a hold closed without a transaction": (
        "UPDATE payment.holds SET state = 'released', close_sequence = 99 WHERE state = 'held'",
        {"hold_differs_from_closing", "held_differs_from_holds"},
    ),
    "a settled hold that says it was released": (
        "UPDATE payment.holds SET state = 'released', settled = 0 WHERE state = 'settled'",
        {"hold_differs_from_closing"},
    ),
    "a closed hold opened again": (
        "UPDATE payment.holds SET state = 'held', close_sequence = NULL WHERE state = 'released'",
        {"held_differs_from_holds", "transaction_without_hold"},
    ),
    "a deleted hold": (
        "DELETE FROM payment.holds WHERE state = 'settled'",
        {"transaction_without_hold"},
    ),
    "a deleted account": (
        "DELETE FROM payment.accounts",
        {"transaction_missing", "available_differs_from_journal", "held_differs_from_journal"},
    ),
    "a refund that nobody asked for": (
        "UPDATE payment.clawbacks SET amount = amount + 1, recovered = recovered + 1",
        {"clawback_differs_from_journal"},
    ),
    "a payment that was granted twice as much": (
        "UPDATE payment.invoices SET credits = credits * 2",
        {"invoice_without_grant"},
    ),
    "a balance below zero": (
        "UPDATE payment.accounts SET available = -1",
        {"account_below_zero", "available_differs_from_journal"},
    ),
}


@pytest.fixture
async def ledger(database_for: DatabaseFactory) -> AsyncIterator[Ledger]:
    """A ledger with one account, two grants of which one was paid and partly refunded, and a hold in each state."""
    async with ledger_in(await database_for("payment")) as opened:
        account = new_id()
        await opened.grant(account, 10_000, GrantKind.PLAN, request_id="lemon-squeezy:inv:1")
        await opened.grant(account, 10_000, GrantKind.PURCHASED)
        terms = [hold_terms(account, 2000) for _ in range(3)]
        await opened.reserve(*terms)
        await opened.close(account, terms[0].hold_id, 500)
        await opened.close(account, terms[1].hold_id, 0)
        await opened.as_admin(
            "INSERT INTO payment.invoices SELECT 'lemon-squeezy', 'inv:1', account_id, '7', 'pro', 'initial', 7500, 'USD', "
            "create_time, 0, amount, 0 FROM payment.grants WHERE request_id = 'lemon-squeezy:inv:1'",
            f"SELECT payment.revoke_grant('{account}', 'lemon-squeezy:inv:1', 100)",
        )
        assert await opened.breaches() == []
        yield opened


@pytest.mark.parametrize("corruption", CORRUPTIONS)
async def test_audit_names_the_broken_invariants_for(corruption: str, ledger: Ledger) -> None:
    statement, expected = CORRUPTIONS[corruption]
    checks = (
        "ALTER TABLE payment.accounts DROP CONSTRAINT accounts_available_check",
        "ALTER TABLE payment.entries DROP CONSTRAINT entries_balance_check",
    )

    await ledger.as_admin(*checks, _UNGUARDED, statement)

    found = {breach.invariant for breach in await ledger.breaches()}
    assert expected <= found


async def test_every_invariant_is_broken_by_some_corruption() -> None:
    from svc_payment.store.audit import _CHECKS  # noqa: PLC0415 - looks inside on purpose

    assert {name for _, expected in CORRUPTIONS.values() for name in expected} == set(_CHECKS)


async def test_audit_of_an_account_leaves_the_others_out(ledger: Ledger) -> None:
    (row,) = await ledger.as_admin(
        "UPDATE payment.accounts SET available = available + 1", "SELECT account_id FROM payment.accounts"
    )

    assert await ledger.breaches(new_id()) == []
    (breach,) = await ledger.breaches(row["account_id"])
    assert breach.reference == str(row["account_id"])


async def test_round_audits_each_account_that_moved_once(ledger: Ledger) -> None:
    await _round(ledger)
    first, second = new_id(), new_id()
    await ledger.grant(first, 1_000)
    await ledger.grant(second, 1_000)

    assert [await _round(ledger), await _round(ledger)] == [2, 0]
    await ledger.reserve(hold_terms(first, 10))
    assert [await _round(ledger), await _round(ledger)] == [1, 0]


async def test_round_takes_as_many_accounts_as_it_may(ledger: Ledger) -> None:
    await _round(ledger)
    for _ in range(3):
        await ledger.grant(new_id(), 1_000)

    assert [await _round(ledger, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_breach_is_counted_and_found_after_a_month_in_an_account_that_rests(ledger: Ledger) -> None:
    account = new_id()
    await ledger.grant(account, 1_000)
    await _round(ledger)
    await ledger.as_admin(
        _UNGUARDED, f"UPDATE payment.accounts SET available = available + 1 WHERE account_id = '{account}'"
    )
    counted = REGISTRY.get_sample_value(*_BREACHES) or 0
    assert await _round(ledger) == 0

    await ledger.as_admin(
        f"UPDATE payment.audits SET audit_time = audit_time - interval '31 days' WHERE account_id = '{account}'"
    )

    assert await _round(ledger) == 1
    assert REGISTRY.get_sample_value(*_BREACHES) == counted + 1


_BREACHES = ("ledger_breaches_total", {"invariant": "available_differs_from_journal"})


async def _round(ledger: Ledger, *, limit: int = 100) -> int:
    async with ledger.tasks.transaction() as session:
        return await audit_some(session, limit=limit)
