"""Rotation of the keys of users' tokens: what is published at each moment, and what an interruption leaves."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from edge_envoy.__main__ import EdgeEnvironment, follow, write
from edge_envoy.token_check import publish_keys
from studio.deployment.__main__ import KeyChange, make
from studio.stack import user_keys
from studio.stack.failures import StackError
from studio.stack.user_keys import FORMER_KEY_LIFE, UserKeys
from svc_common.tokens import SigningKey
from svc_user.domain import ACCESS_TOKEN_LIFETIME

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SERVERS = {
    "DATABASE_URL": "postgresql://admin:secret@db/pingvas",
    "REDIS_URL": "redis://cache",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
    "SMTP_URL": "smtp://mail",
}


@pytest.fixture
def keys(tmp_path: Path) -> UserKeys:
    made = UserKeys(tmp_path / "signing.pem", tmp_path / "next.pem", tmp_path / "jwks.json")
    made.ensure()
    return made


def until_holds(condition: Callable[[], bool], within_seconds: float = 60.0) -> None:
    give_up = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def nobody() -> None:
    """Hands keys on to nobody."""


def kid_of(file: Path) -> str:
    return SigningKey.from_file(file).kid


def published(keys: UserKeys) -> dict[str, int | None]:
    """Returns when each published key is retired, by name."""
    return {jwk["kid"]: jwk.get("exp") for jwk in json.loads(keys.jwks.read_bytes())["keys"]}


def test_next_key_is_published_before_it_signs(keys: UserKeys) -> None:
    assert published(keys) == {kid_of(keys.signing): None, kid_of(keys.next): None}


def test_keys_of_an_earlier_release_get_a_successor(tmp_path: Path, keys: UserKeys) -> None:
    signing = kid_of(keys.signing)
    keys.jwks.write_text(json.dumps({"keys": [SigningKey.from_file(keys.signing).jwk]}))
    keys.next.unlink()
    keys.ensure()
    assert kid_of(keys.signing) == signing
    assert published(keys) == {signing: None, kid_of(keys.next): None}


def test_former_key_is_retired_when_its_last_token_has_expired(keys: UserKeys) -> None:
    former, promoted = kid_of(keys.signing), kid_of(keys.next)

    assert keys.rotate(NOW, nobody) == promoted == kid_of(keys.signing)

    retire = int((NOW + FORMER_KEY_LIFE).timestamp())
    assert published(keys) == {former: retire, promoted: None, kid_of(keys.next): None}
    assert FORMER_KEY_LIFE > ACCESS_TOKEN_LIFETIME
    # Another rotation in between doesn't lengthen its life, and one afterwards removes it.
    keys.rotate(NOW + timedelta(minutes=5), nobody)
    assert published(keys)[former] == retire
    keys.rotate(NOW + FORMER_KEY_LIFE, nobody)
    assert former not in published(keys)


def test_every_key_is_new_after_a_compromise(keys: UserKeys) -> None:
    before = set(published(keys))

    keys.replace_compromised(NOW, nobody)

    after = published(keys)
    assert {kid for kid in after if after[kid] is None} == {kid_of(keys.signing), kid_of(keys.next)}
    assert {kid: after[kid] for kid in before} == dict.fromkeys(before, int(NOW.timestamp()))
    assert before.isdisjoint({kid_of(keys.signing), kid_of(keys.next)})
    keys.rotate(NOW + timedelta(seconds=1), nobody)
    assert before.isdisjoint(published(keys))


class CrashError(Exception):
    """The machine stopped."""


@pytest.mark.parametrize("change", [UserKeys.rotate, UserKeys.replace_compromised])
@pytest.mark.parametrize("writes_before_crash", range(4))
def test_interrupted_change_leaves_a_published_key_that_signs_and_can_be_repeated(
    change: Callable[[UserKeys, datetime, Callable[[], None]], str], writes_before_crash: int, keys: UserKeys
) -> None:
    left = writes_before_crash
    write = user_keys.write_private

    def crashing(path: Path, content: bytes) -> None:
        nonlocal left
        if not left:
            raise CrashError
        left -= 1
        write(path, content)

    with patch.object(user_keys, "write_private", crashing):
        try:
            change(keys, NOW, nobody)
        except CrashError:
            pass
        else:
            assert writes_before_crash == 3, "every write was tried"

    keys.ensure()
    assert published(keys)[kid_of(keys.signing)] is None
    signed_before = kid_of(keys.signing)
    keys.rotate(NOW + timedelta(seconds=1), nobody)
    assert kid_of(keys.signing) != signed_before
    assert published(keys)[kid_of(keys.signing)] is None
    # Whatever else there is ends some day.
    assert [kid for kid, retire in published(keys).items() if retire is None] == [
        kid_of(keys.signing),
        kid_of(keys.next),
    ]


def test_broken_key_set_is_no_reason_to_guess(keys: UserKeys) -> None:
    keys.jwks.write_text("{")
    with pytest.raises(StackError, match="no JWK set"):
        keys.rotate(NOW, nobody)


def test_deployment_hands_verifiers_a_key_before_it_signs(tmp_path: Path) -> None:
    make(tmp_path, SERVERS)
    folders = {name: (tmp_path / name).stat().st_ino for name in ("svc_user", "svc_payment", "envoy")}
    former, promoted = (
        kid_of(tmp_path / "svc_user/user-signing.pem"),
        kid_of(tmp_path / ".originals/user-signing-next.pem"),
    )
    untouched = (tmp_path / "svc_payment/service-key.pem").stat().st_mtime_ns

    make(tmp_path, SERVERS, KeyChange.ROTATE)

    assert kid_of(tmp_path / "svc_user/user-signing.pem") == promoted
    for name, inode in folders.items():
        assert {former, promoted} < {
            jwk["kid"] for jwk in json.loads((tmp_path / name / "user-jwks.json").read_bytes())["keys"]
        }
        # Processes that run have the folder mounted, not its name.
        assert (tmp_path / name).stat().st_ino == inode
    assert (tmp_path / "svc_payment/service-key.pem").stat().st_mtime_ns == untouched
    assert "user-signing-next.pem" not in {file.name for file in tmp_path.glob("[a-z]*/*")}
    make(tmp_path, SERVERS, KeyChange.REPLACE)
    assert kid_of(tmp_path / "svc_user/user-signing.pem") not in {former, promoted}


@pytest.fixture
def edge(tmp_path: Path, keys: UserKeys) -> tuple[EdgeEnvironment, Path]:
    areas = ("user", "payment", "generation", "gallery", "models")
    environment = EdgeEnvironment(
        **{f"{area}_public_address": f"svc-{area}:8001" for area in areas},  # type: ignore[arg-type]
        bridge_address="edge-http:8006",
        user_jwks_file=keys.jwks,
        edge_secret="a secret of the edge",
    )
    folder = tmp_path / "edge"
    folder.mkdir()
    write(environment, folder)
    return environment, folder


def edge_kids(folder: Path) -> set[str]:
    check = json.loads((folder / "token-check.json").read_bytes())["resources"][0]["typed_config"]
    return {jwk["kid"] for jwk in json.loads(check["providers"]["user"]["local_jwks"]["inline_string"])["keys"]}


def test_edge_gets_new_keys_and_nothing_else_changes(edge: tuple[EdgeEnvironment, Path], keys: UserKeys) -> None:
    _, folder = edge
    before = json.loads((folder / "token-check.json").read_bytes())
    assert not publish_keys(folder / "token-check.json", keys.jwks)
    keys.rotate(NOW, nobody)
    assert publish_keys(folder / "token-check.json", keys.jwks)
    assert edge_kids(folder) == set(published(keys))
    after = json.loads((folder / "token-check.json").read_bytes())
    for document in (before, after):
        document["resources"][0]["typed_config"]["providers"]["user"].pop("local_jwks")
    assert after == before


def test_follower_hands_on_keys_and_waits_for_a_file_that_is_away(
    edge: tuple[EdgeEnvironment, Path], keys: UserKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, folder = edge
    stop = threading.Event()
    follower = threading.Thread(target=follow, args=(environment, folder, stop))
    follower.start()
    try:
        hidden = keys.jwks.with_suffix(".away")
        keys.jwks.rename(hidden)
        complaints: list[str] = []

        def complained() -> bool:
            complaints.append(capsys.readouterr().err)
            return "can't be handed on" in "".join(complaints)

        until_holds(complained)
        hidden.rename(keys.jwks)
        keys.rotate(NOW, nobody)
        until_holds(lambda: edge_kids(folder) == set(published(keys)))
    finally:
        stop.set()
        follower.join()
