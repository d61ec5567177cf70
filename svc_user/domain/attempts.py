"""Owns how often passwords may be tried: who pays for a failed try, and how long each failure makes them wait.

An origin is an account as seen from one network. One from which somebody logged in before has a budget of its own, so
that no number of strangers can make its owner wait. All strangers of an account share a second one, which bounds the
guesses of any number of networks; a third bounds what one network tries at all accounts, a fourth what it tries at one.
Waiting times are capped: nobody is ever locked out. Accounts that don't exist are treated alike.

Counting is left to svc_common.limits.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

KNOWN_ORIGIN_MEMORY: Final = timedelta(days=90)
"""How long after the last log-in an origin is known. Beyond the thirty days of a session, so that who comes back is known."""

_FIRST_DELAY: Final = timedelta(seconds=1)
_DIGEST_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Some failures are free; each one after them doubles the wait, from a second up to `longest`."""

    free: int
    longest: timedelta

    @property
    def delays(self) -> Sequence[timedelta]:
        """The waits after the first, second, ... failure; the last one repeats."""
        delays = [timedelta(0)] * self.free
        delay = min(_FIRST_DELAY, self.longest)
        while delay < self.longest:
            delays.append(delay)
            delay *= 2
        return (*delays, self.longest)


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """Holds the four budgets of failed log-ins, and for how long failures count."""

    known_origin: Backoff
    strange_origin: Backoff
    strangers_of_account: Backoff
    strangers_of_network: Backoff
    memory: timedelta

    def guesses_of_strangers(self, span: timedelta) -> float:
        """Returns how many guesses at one account any number of strange networks get within a span, at most.

        Backoff allows its free ones and those while it doubles, then one for each longest delay.
        """
        backoff = self.strangers_of_account
        return len(backoff.delays) + span / backoff.longest


@dataclass(frozen=True, slots=True)
class OriginKeys:
    """Names the counts of one origin; nothing in them tells an address."""

    marker: str
    known_origin: str
    strange_origin: str
    account: str
    network: str


def origin_keys(secret: bytes, email: str, network: str) -> OriginKeys:
    """Returns the names of the counts for a normalised e-mail address, registered or not, and a network."""

    def digest(*parts: str) -> str:
        text = "\0".join(parts).encode()
        return hmac.new(secret, text, hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]

    origin = digest("origin", email, network)
    return OriginKeys(
        marker=f"known:{origin}",
        known_origin=f"own:{origin}",
        strange_origin=f"strange:{origin}",
        account=f"account:{digest('account', email)}",
        network=f"network:{digest('network', network)}",
    )
