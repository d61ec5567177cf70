"""Hashes and checks passwords with argon2id, a bounded number at a time, and refuses new ones that are guessed at once.

How passwords are normalised is the domain's, where the hash is kept the store's.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar, TypeVarTuple

import argon2
from zxcvbn import zxcvbn

from svc_common.errors import Reason, ServiceError, invalid_field
from svc_user import domain

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_DUMMY_PASSWORD_BYTES: Final = 32

# Fewer guesses than this find the password in lists of common ones, names and keyboard rows, with the usual changes. What
# follows the first characters that zxcvbn looks at can only make it better.
_MINIMUM_GUESSES: Final = 1_000_000
_ESTIMATED_CHARACTERS: Final = 72
_OUR_NAMES: Final = ("pingvas", "studio")


@dataclass(frozen=True, slots=True)
class PasswordLimits:
    """Holds what a hash costs and how many may run and wait at once."""

    memory_kib: int
    """Memory of one running hash; the process needs `concurrency` times as much."""
    time_cost: int
    parallelism: int
    concurrency: int
    max_waiting: int
    longest_wait: timedelta


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Holds the outcome of comparing a password with a stored hash."""

    matches: bool
    new_hash: str | None
    """A hash of the same password with today's parameters, when the stored one was made with others."""


class PasswordHasher:
    """Runs argon2id in threads of its own.

    A hash takes 64 MiB and tens of milliseconds, so that unbounded logins would exhaust memory: `concurrency` run,
    `max_waiting` wait for at most `longest_wait`, and everybody else gets OVERLOADED at once.
    """

    def __init__(self, limits: PasswordLimits) -> None:
        self._limits = limits
        self._argon2 = argon2.PasswordHasher(
            time_cost=limits.time_cost, memory_cost=limits.memory_kib, parallelism=limits.parallelism
        )
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="argon2")
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._waiting = 0
        # Checked in place of an unknown user's hash, so that the answer takes as long as a known user's.
        self._dummy_hash = self._argon2.hash(secrets.token_bytes(_DUMMY_PASSWORD_BYTES))

    async def hash_new(self, password: str, *, field: str, about: Sequence[str]) -> str:
        """Returns the hash of a password that somebody chose; `about` lists what is known of them, such as their address.

        Raises INVALID_FIELD for the field when the password is guessed at once, and OVERLOADED.
        """
        return await self._in_thread(self._hash_new, password, field, about)

    async def check(self, stored_hash: str | None, password: bytes) -> PasswordCheck:
        """Compares a password with a stored hash; None stands for a user who doesn't exist. Raises OVERLOADED."""
        check = await self._in_thread(self._check, stored_hash or self._dummy_hash, password)
        return check if stored_hash else PasswordCheck(matches=False, new_hash=None)

    async def close(self) -> None:
        """Waits for the hashes that run and drops those that wait."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _hash_new(self, password: str, field: str, about: Sequence[str]) -> str:
        if _guesses(password, about) < _MINIMUM_GUESSES:
            raise invalid_field(field, "is one of those that are guessed first. Choose a longer or a less usual one.")
        return self._argon2.hash(domain.normalise_password(password))

    def _check(self, stored_hash: str, password: bytes) -> PasswordCheck:
        try:
            self._argon2.verify(stored_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return PasswordCheck(matches=False, new_hash=None)
        is_outdated = self._argon2.check_needs_rehash(stored_hash)
        return PasswordCheck(matches=True, new_hash=self._argon2.hash(password) if is_outdated else None)

    async def _in_thread(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        await self._take_slot()
        try:
            # A caller who hangs up frees the slot but not the thread, and it is the number of threads that bounds
            # memory: the next one then waits in the pool until that hash has ended.
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        if self._slots.locked() and self._waiting >= self._limits.max_waiting:
            raise self._overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.longest_wait.total_seconds()):
                await self._slots.acquire()
        except TimeoutError:
            raise self._overloaded() from None
        finally:
            self._waiting -= 1

    def _overloaded(self) -> ServiceError:
        return ServiceError(
            Reason.OVERLOADED,
            "Too many passwords are being checked at once; call again after the delay in RetryInfo.",
            retry_after=self._limits.longest_wait,
        )


def _guesses(password: str, about: Sequence[str]) -> float:
    """Returns about how many guesses find a password (Wheeler, zxcvbn, USENIX Security 2016); takes up to 20 ms."""
    known = [*about, *(part for text in about for part in text.split("@")), *_OUR_NAMES]
    return float(zxcvbn(password[:_ESTIMATED_CHARACTERS], user_inputs=known)["guesses"])
