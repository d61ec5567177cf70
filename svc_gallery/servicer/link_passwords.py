"""Hashes and checks the passwords of share links with argon2id, in threads of its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import argon2

_THREADS: Final = 2
_MEMORY_KIB: Final = 19 * 1024
_TIME_COST: Final = 2
"""What OWASP recommends at the least: a link's password guards one picture, and only a few are tried at a time."""


class LinkPasswords:
    """Runs two hashes at a time; others wait. How many are tried is limited for each link before."""

    def __init__(self) -> None:
        """Starts no thread yet."""
        self._argon2 = argon2.PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")

    async def hash_of(self, password: str) -> str | None:
        """Returns what is kept of a password; None for none."""
        if not password:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._argon2.hash, password)

    async def matches(self, kept_hash: str | None, password: str) -> bool:
        """Tells whether a password is the one whose hash was kept; "" is that of a link without one."""
        if kept_hash is None or not password:
            return kept_hash is None and not password
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, kept_hash, password)

    async def close(self) -> None:
        """Waits for the hashes that run and drops those that wait."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _verify(self, kept_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(kept_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False
