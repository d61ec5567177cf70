"""Signs with whichever key the operator has put in place, and publishes the keys that verify it, without a restart."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self

import structlog

from svc_common.concurrency import is_set_within
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokenIssuer, SigningKey
from svc_common.watched_file import WatchedFile

_LOOK_EVERY_SECONDS: Final = 1.0

_log: Final = structlog.get_logger()


class Signing:
    """Keeps an issuer of tokens signing with the key in a file, as long as verifiers accept that key."""

    def __init__(
        self, *, issuer: AccessTokenIssuer, key_file: WatchedFile, key_set: KeySet, clock: Callable[[], datetime]
    ) -> None:
        """Takes an issuer that signs with the file's present key, and the published keys."""
        self._issuer = issuer
        self._key_file = key_file
        self._key_set = key_set
        self._clock = clock
        self._refused_kid = ""

    @classmethod
    def from_files(
        cls,
        key_file: WatchedFile,
        key_set: KeySet,
        issuer_of: Callable[[SigningKey], AccessTokenIssuer],
        clock: Callable[[], datetime],
    ) -> Self:
        """Loads the key; raises OSError when verifiers would refuse what it signs."""
        signing_key = SigningKey(key_file.read())
        signing = cls(issuer=issuer_of(signing_key), key_file=key_file, key_set=key_set, clock=clock)
        if not signing._is_published(signing_key.kid):
            raise OSError(
                f"USER_JWKS_FILE has no key {signing_key.kid}: add the public half of USER_SIGNING_KEY_FILE to it, here "
                "and at every verifier, before signing with that key"
            )
        return signing

    @property
    def issuer(self) -> AccessTokenIssuer:
        """What mints tokens with the present key."""
        return self._issuer

    def published(self) -> Sequence[Mapping[str, Any]]:
        """Returns the public keys that verify what is signed now, was signed lately, or will be signed, as JWKs."""
        return self._key_set.published(self._clock().timestamp())

    async def run(self, stop: asyncio.Event) -> None:
        """Takes up another key within a second, until `stop` is set."""
        while not await is_set_within(stop, _LOOK_EVERY_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        """Signs with the file's key from now on if it is published; keeps the key it has if not."""
        self._key_set.refresh()
        if not self._key_file.has_changed() and not self._refused_kid:
            return
        try:
            signing_key = SigningKey(self._key_file.read())
        except (OSError, ValueError) as error:
            _log.error("signing_key.unreadable", error=str(error))
            return
        if not self._is_published(signing_key.kid):
            # Both files may be on their way here, the key before the set.
            if signing_key.kid != self._refused_kid:
                _log.error("signing_key.not_published", kid=signing_key.kid, kept=self._issuer.kid)
            self._refused_kid = signing_key.kid
            return
        self._refused_kid = ""
        if signing_key.kid != self._issuer.kid:
            self._issuer.sign_with(signing_key)
            _log.info("signing_key.changed", kid=signing_key.kid)

    def _is_published(self, kid: str) -> bool:
        return kid in {key["kid"] for key in self.published()}
