"""The paper that somebody gets who took the first step of signing in, to be shown with the second."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from svc_user.domain import second_factors as rules
from svc_user.store.models import User

_SIGNATURE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Challenged:
    """Who took the first step, and how; the epoch grows when that step doesn't count any more."""

    user_id: UUID
    account_id: UUID
    epoch: int
    way: str


class Challenges:
    """Signs challenges. They need no storage: the code of the second step works once, and a challenge alone opens nothing."""

    def __init__(self, key: bytes) -> None:
        """Takes a secret that all replicas share."""
        self._key = key

    @classmethod
    def derived_from(cls, secret: bytes) -> Self:
        """Returns challenges signed with a key of their own, derived from a secret that the service has already."""
        return cls(hashlib.sha256(b"pingvas second factor challenges\0" + secret).digest())

    def issue(self, user: User, way: str, now: datetime) -> str:
        """Returns the challenge of a user who took the first step in some way."""
        expiry = int((now + rules.CHALLENGE_LIFETIME).timestamp())
        content = json.dumps([user.user_id.hex, user.account_id.hex, user.token_epoch, way, expiry]).encode()
        return base64.urlsafe_b64encode(self._signature(content) + content).decode("ascii")

    def read(self, challenge: str, now: datetime) -> Challenged:
        """Returns who was challenged; raises SECOND_FACTOR_FAILED when it isn't ours, or has expired."""
        try:
            raw = base64.b64decode(challenge, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise rules.failed("challenge") from None
        signature, content = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(content)):
            raise rules.failed("challenge")
        user_id, account_id, epoch, way, expiry = json.loads(content)
        if now.timestamp() >= expiry:
            raise rules.failed("challenge")
        return Challenged(UUID(user_id), UUID(account_id), epoch, way)

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")
