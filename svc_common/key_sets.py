"""The public keys that verify tokens, read from a file that may change while the process runs.

A key is taken up as soon as a token names it, and one that was removed or retired is given up within a second. Making and
publishing keys is left to whoever operates the platform (`studio.stack.user_keys`), checking tokens to `svc_common.tokens`.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError

from svc_common.concurrency import is_set_within
from svc_common.watched_file import WatchedFile

_LOOK_EVERY_SECONDS: Final = 1.0

_log: Final = structlog.get_logger("keys")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key of a set. From `retire_time` on, in seconds since the epoch, whatever it signed counts as expired.

    The time is the member `exp` of the JWK, as OpenID Federation 1.0 (8.7.2) has it.
    """

    public_key: ec.EllipticCurvePublicKey
    jwk: Mapping[str, Any]
    retire_time: float | None = None

    def is_retired(self, now: float) -> bool:
        """Tells whether the key is good for nothing any more."""
        return self.retire_time is not None and now >= self.retire_time


class KeySet:
    """The public keys that verify tokens, by `kid`. Keys of other kinds in the set are ignored."""

    def __init__(self, jwks: Mapping[str, Any], *, file: WatchedFile | None = None) -> None:
        """Loads a JWK set, and later states of the file that it comes from. Raises ValueError when it has no usable key."""
        self._keys = _load(jwks)
        self._file = file
        self._listeners: list[Callable[[], None]] = []

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Loads a JWK set from a JSON file."""
        file = WatchedFile(path)
        return cls(json.loads(file.read()), file=file)

    def find(self, kid: object) -> PublicKey | None:
        """Returns the key of that name, or None. For a name that it hasn't seen it looks whether the file has changed."""
        if not isinstance(kid, str):
            return None
        found = self._keys.get(kid)
        if found is None and self.refresh():
            found = self._keys.get(kid)
        return found

    def published(self, now: float) -> Sequence[Mapping[str, Any]]:
        """Returns the keys that are good for something at the moment, as JWKs."""
        return [key.jwk for key in self._keys.values() if not key.is_retired(now)]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls a function whenever the keys have changed."""
        self._listeners.append(listener)

    def refresh(self) -> bool:
        """Takes up the file's present keys and tells whether it did. Keeps those it has when the file is no key set."""
        if self._file is None or not self._file.has_changed():
            return False
        try:
            self._keys = _load(json.loads(self._file.read()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error("keys.unreadable", file=str(self._file.path), error=str(error))
            return False
        for listener in self._listeners:
            listener()
        _log.info("keys.changed", file=str(self._file.path), kids=sorted(self._keys))
        return True

    async def follow(self, stop: asyncio.Event) -> None:
        """Takes up each change of the file within a second, until `stop` is set."""
        while not await is_set_within(stop, _LOOK_EVERY_SECONDS):
            self.refresh()


def _load(jwks: Mapping[str, Any]) -> dict[str, PublicKey]:
    usable = [jwk for jwk in jwks["keys"] if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" and "kid" in jwk]
    if not usable:
        raise ValueError("the JWK set has no EC key on P-256 with a kid")
    keys = {}
    for jwk in usable:
        try:
            key = ECAlgorithm.from_jwk(jwk)
        except InvalidKeyError as error:
            raise ValueError(f"the key {jwk['kid']} is broken: {error}") from error
        # A private key in a file of public ones is a leak, not a convenience.
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError(f"the key {jwk['kid']} is a private one; keep its public half only")  # noqa: TRY004 - the file's content is wrong
        keys[jwk["kid"]] = PublicKey(key, jwk, float(jwk["exp"]) if "exp" in jwk else None)
    return keys
