"""The keys of users' access tokens, from the first to their replacement.

Three kinds are published in one JWK set: the key that signs, the next one, and those that signed before. The next one is
published long before it signs, so that no verifier meets a token whose key it hasn't. A former one is good until the last
token that it signed has expired; its member `exp` says when, so that nobody has to come back and remove it.

Whoever reads the set takes it up by itself: the services look at the file, the edge is given its keys by `publish_keys` of
`edge_envoy.token_check`.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from studio.stack.failures import StackError
from svc_common.tokens import public_jwk

FORMER_KEY_LIFE: Final = timedelta(minutes=15)
"""Longer than any access token lives (ten minutes), with room for clocks and for a service that changes keys late."""


@dataclass(frozen=True, slots=True)
class UserKeys:
    """The files of the keys: the private one that signs, the private one that will be next, and all public ones."""

    signing: Path
    next: Path
    jwks: Path

    def ensure(self) -> None:
        """Makes whatever is missing; what is there stays as it is, the keys of an earlier release included."""
        published = self._published() if self.jwks.exists() else []
        # A change that was interrupted may leave keys that are given up already, or the next one signing.
        given_up = {jwk["kid"] for jwk in published if "exp" in jwk}
        if not self.signing.exists() or _public(self.signing)["kid"] in given_up:
            write_private(self.signing, new_private_key())
        if not self.next.exists() or _public(self.next)["kid"] in {*given_up, _public(self.signing)["kid"]}:
            write_private(self.next, new_private_key())
        known = {jwk["kid"] for jwk in published}
        missing = [jwk for jwk in map(_public, (self.signing, self.next)) if jwk["kid"] not in known]
        if missing:
            self._publish([*published, *missing])

    def rotate(self, now: datetime, announce: Callable[[], None]) -> str:
        """Lets the next key sign and publishes its successor; returns the name of the key that signs now.

        Tokens of the former key stay good until they expire. `announce` hands what is published on to verifiers that don't
        look at the file themselves. An interruption at any point leaves a key that signs and is published.
        """
        self.ensure()
        announce()
        write_private(self.signing, self.next.read_bytes())
        write_private(self.next, new_private_key())
        current, retire = [_public(self.signing), _public(self.next)], int((now + FORMER_KEY_LIFE).timestamp())
        self._publish([*self._retired(current, now, retire), *current])
        announce()
        return str(current[0]["kid"])

    def replace_compromised(self, now: datetime, announce: Callable[[], None]) -> str:
        """Gives up every key at once, the next one too, for new ones; returns the name of the key that signs now.

        For a folder that somebody may have read. Whatever the former keys signed counts as expired: clients get new tokens
        by themselves, and what was forged is worth nothing. They stay in the set until the next rotation, so that their
        tokens are told from garbage.
        """
        self.ensure()
        signing, successor = new_private_key(), new_private_key()
        current = [dict(public_jwk(signing)), dict(public_jwk(successor))]
        self._publish([*self._retired(current, now, int(now.timestamp())), *current])
        announce()
        write_private(self.signing, signing)
        write_private(self.next, successor)
        return str(current[0]["kid"])

    def _retired(self, current: list[dict[str, Any]], now: datetime, retire: int) -> list[dict[str, Any]]:
        """Returns the published keys but for the current ones and those whose time is over, good until `retire` at most."""
        kids = {jwk["kid"] for jwk in current}
        return [
            {**jwk, "exp": min(retire, jwk.get("exp", retire))}
            for jwk in self._published()
            if jwk["kid"] not in kids and not ("exp" in jwk and now.timestamp() >= jwk["exp"])
        ]

    def _published(self) -> list[dict[str, Any]]:
        try:
            return list(json.loads(self.jwks.read_bytes())["keys"])
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(
                f"{self.jwks} is no JWK set: {error}",
                advice="Remove the file; it is written anew from the keys beside it.",
            ) from error

    def _publish(self, keys: list[dict[str, Any]]) -> None:
        write_private(self.jwks, json.dumps({"keys": keys}, indent=2).encode())


def new_private_key() -> bytes:
    """Returns a new EC P-256 key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read from its first byte on, and that appears whole or not at all."""
    draft = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    draft.replace(path)


def _public(file: Path) -> dict[str, Any]:
    return dict(public_jwk(file.read_bytes()))
