"""Key sets that change while they are used: what is taken up, what is given up, and what a broken file does."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from svc_common.errors import Reason, ServiceError
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokenIssuer, AccessTokens, SigningKey
from svc_common.watched_file import WatchedFile
from svc_user.usecases.signing import Signing

START = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER, AUDIENCE = "https://issuer.example", "api"


def new_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_key() -> SigningKey:
    return SigningKey(new_pem())


def token_of(key: SigningKey) -> str:
    user = uuid4()
    return AccessTokenIssuer(key, ISSUER, AUDIENCE, timedelta(minutes=10)).issue(user, user, uuid4(), START)


def replace_file(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


def write_keys(path: Path, *keys: SigningKey, **members: Any) -> None:
    """Writes a set; members are added to each key."""
    replace_file(path, json.dumps({"keys": [key.jwk | members for key in keys]}).encode())


class Verifier:
    """Tokens as a service checks them, at a time of the test's choice."""

    def __init__(self, path: Path) -> None:
        self.keys = KeySet.from_file(path)
        self.now = START.timestamp()
        self._tokens = AccessTokens(self.keys, ISSUER, AUDIENCE, clock=lambda: self.now)

    def reason(self, token: str) -> Reason | None:
        """Returns why a token is refused, None if it isn't."""
        try:
            self._tokens.verify(token)
        except ServiceError as error:
            return error.reason
        return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jwks.json"


def test_key_is_taken_up_when_a_token_names_it(path: Path) -> None:
    old, new = new_key(), new_key()
    write_keys(path, old)
    verifier = Verifier(path)
    assert verifier.reason(token_of(new)) is Reason.TOKEN_INVALID
    write_keys(path, old, new)
    assert verifier.reason(token_of(new)) is None
    assert verifier.reason(token_of(old)) is None


def test_removed_key_ends_tokens_that_were_verified_before(path: Path) -> None:
    old, new = new_key(), new_key()
    write_keys(path, old)
    verifier = Verifier(path)
    token = token_of(old)
    assert verifier.reason(token) is None
    write_keys(path, new)
    assert verifier.keys.refresh()
    assert verifier.reason(token) is Reason.TOKEN_INVALID


def test_retired_key_ends_its_tokens_as_expired(path: Path) -> None:
    key = new_key()
    write_keys(path, key, exp=int(START.timestamp()) + 60)
    verifier = Verifier(path)
    first, second = token_of(key), token_of(key)
    assert verifier.reason(first) is None
    assert verifier.keys.published(verifier.now)
    verifier.now += 60
    assert verifier.reason(second) is Reason.TOKEN_EXPIRED
    assert verifier.keys.published(verifier.now) == []


def test_signature_is_not_asked_of_a_retired_key(path: Path) -> None:
    key = new_key()
    write_keys(path, key, exp=int(START.timestamp()))
    assert Verifier(path).reason(token_of(key)[:-4] + "AAAA") is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "x"}]}']
)
def test_unreadable_file_changes_nothing(content: bytes, path: Path) -> None:
    key = new_key()
    write_keys(path, key)
    verifier = Verifier(path)
    replace_file(path, content)
    assert not verifier.keys.refresh()
    assert verifier.reason(token_of(key)) is None
    path.unlink()
    assert not verifier.keys.refresh()
    assert verifier.reason(token_of(key)) is None
    write_keys(path, new_key())
    assert verifier.keys.refresh()


async def test_change_is_taken_up_without_a_call(path: Path) -> None:
    write_keys(path, new_key())
    keys = KeySet.from_file(path)
    changed, stop = asyncio.Event(), asyncio.Event()
    keys.on_change(changed.set)
    following = asyncio.create_task(keys.follow(stop))
    write_keys(path, new_key())
    async with asyncio.timeout(60):
        await changed.wait()
        stop.set()
        await following


@pytest.fixture
def signing_file(tmp_path: Path) -> Path:
    return tmp_path / "signing.pem"


def signing_with(pem: bytes, signing_file: Path, path: Path) -> Signing:
    replace_file(signing_file, pem)
    write_keys(path, SigningKey(pem))
    return Signing.from_files(
        WatchedFile(signing_file),
        KeySet.from_file(path),
        lambda key: AccessTokenIssuer(key, ISSUER, AUDIENCE, timedelta(minutes=10)),
        lambda: START,
    )


def test_key_signs_when_it_is_published_and_not_before(signing_file: Path, path: Path) -> None:
    old, new = new_pem(), new_pem()
    signing = signing_with(old, signing_file, path)
    # The key arrives before the set does.
    replace_file(signing_file, new)
    signing.refresh()
    assert signing.issuer.kid == SigningKey(old).kid
    write_keys(path, SigningKey(old), SigningKey(new))
    signing.refresh()
    assert signing.issuer.kid == SigningKey(new).kid
    assert len(signing.published()) == 2


def test_retired_key_does_not_sign(signing_file: Path, path: Path) -> None:
    old, new = new_pem(), new_pem()
    signing = signing_with(old, signing_file, path)
    write_keys(path, SigningKey(new), exp=int(START.timestamp()))
    replace_file(signing_file, new)
    signing.refresh()
    assert signing.issuer.kid == SigningKey(old).kid


@pytest.mark.parametrize("content", [b"", b"no key"])
def test_unreadable_key_changes_nothing(content: bytes, signing_file: Path, path: Path) -> None:
    old, new = new_pem(), new_pem()
    signing = signing_with(old, signing_file, path)
    replace_file(signing_file, content)
    signing.refresh()
    assert signing.issuer.kid == SigningKey(old).kid
    write_keys(path, SigningKey(new))
    replace_file(signing_file, new)
    signing.refresh()
    assert signing.issuer.kid == SigningKey(new).kid
