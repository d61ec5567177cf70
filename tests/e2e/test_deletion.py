"""An account that is deleted: closed, kept, closed again, and then gone from everywhere, whatever dies on the way."""

import base64
import io
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from studio.stack.mailbox import Mailbox, StoredMail
from svc_common.registry import AREAS
from svc_common.roles import schema_of
from tests.e2e.stage import PASSWORD, Person, Stage, until
from tests.factories.own_loras import lora_bytes

_API = "/api/v1"
_LEDGER = frozenset({"accounts", "grants", "holds", "transactions", "entries", "entitlements"})
"""The tables of payment whose rows stay: what was held and spent, and on which tier, of an id that is nobody's."""


class Owner:
    """Somebody who calls by HTTP, and whose own word stands in all that they make."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.word = f"canary{uuid.uuid4().hex}"
        self.email = f"{self.word}@example.com"
        registration = {"email": self.email, "password": PASSWORD, "display_name": self.word, "locale": "en"}
        self.account_id = self.post("/auth/register", registration)["user_id"]
        self.tokens: dict[str, Any] = {}
        self.sign_in()

    def sign_in(self) -> dict[str, Any]:
        self.tokens = self.post("/auth/login", {"email": self.email, "password": PASSWORD})
        return self.tokens

    def refresh(self) -> None:
        self.tokens = self.post("/auth/refresh", {"refresh_token": self.tokens["refresh_token"]})

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.ask("POST", path, json=body)

    def ask(self, verb: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self.send(verb, path, **options)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def send(self, verb: str, path: str, **options: Any) -> Any:
        token = getattr(self, "tokens", {}).get("access_token", "")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.stage.http.request(verb, f"{_API}{path}", headers=headers, **options)

    def refused(self, verb: str, path: str, **options: Any) -> str:
        answer = self.send(verb, path, **options)
        assert answer.status_code != 200, answer.text
        return str(answer.json()["details"][0]["reason"])

    def mail(self, subject: str) -> StoredMail:
        """Returns the mail with a subject, waiting for it."""
        mailbox = Mailbox(self.stage.fleet.layout.mail)
        found: list[StoredMail] = []

        def has_come() -> bool:
            found[:] = [mail for mail in mailbox.mails(self.email) if mail.subject == subject]
            return bool(found)

        until(has_come, f"the mail {subject!r}")
        return found[0]


@pytest.fixture
def owner(shaken: Stage) -> Owner:
    """Somebody with something in every part of the platform."""
    owner = Owner(shaken)
    token = owner.mail("Confirm your e-mail address").link.rpartition("#token=")[2]
    owner.post("/auth/verify-email", {"token": token})
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 20, 20)).save(picture, "PNG")
    shaken.fleet.administrator.grant(owner.account_id, 100_000)
    job = owner.post("/generate/text-to-image", {"prompt": owner.word, "width_px": 64, "height_px": 64})
    Person(shaken, owner.email, uuid.UUID(owner.account_id)).end_of(job["job_id"])
    image_id = owner.ask("GET", "/images")["images"][0]["image_id"]
    owner.ask("PATCH", f"/images/{image_id}", json={"title": owner.word, "tags": {"values": [owner.word]}})
    owner.post(f"/images/{image_id}/share", {"with_recipe": True})
    board = owner.post("/boards", {"name": owner.word})
    owner.post(f"/boards/{board['board_id']}/images", {"image_ids": [image_id]})
    owner.post("/images:export", {"board_id": board["board_id"], "with_recipes": True})
    upload = owner.post("/uploads", {"content_type": "image/png", "size_bytes": len(picture.getvalue())})
    put = shaken.http.put(upload["put_url"], content=picture.getvalue(), headers={"content-type": "image/png"})
    assert put.status_code == 200, put.text
    shaken.fleet.administrator.set_tier(owner.account_id, "studio")
    lora = {"display_name": owner.word, "family": "tiny", "size_bytes": str(len(lora_bytes()))}
    part = owner.post("/models/loras", lora)["parts"][0]["put_url"]
    put = shaken.http.put(part, content=lora_bytes(), headers={"content-type": "application/octet-stream"})
    assert put.status_code == 200, put.text
    # The LoRA stays; who has a plan can't delete the account.
    shaken.fleet.administrator.set_tier(owner.account_id, "free")
    owner.ask("PATCH", "/users/me", json={"avatar": base64.b64encode(picture.getvalue()).decode()})
    return owner


def find_everywhere(stage: Stage, word: str, account_id: str) -> Iterator[str]:
    """Yields where something stands that a word or an account's id names, the ledger's rows left out."""
    columns = (
        "SELECT c.table_schema, c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE c.table_schema = ANY($1) AND t.table_type = 'BASE TABLE'"
    )
    for schema, table, column, kind in stage.rows(columns, [schema_of(area) for area in AREAS]):
        name = f'"{column}"'
        text = f"encode({name}, 'escape')" if kind == "bytea" else f"{name}::text"
        sought = [word] if schema == "payment" and table in _LEDGER else [word, account_id]
        count = stage.value(
            f'SELECT count(*) FROM "{schema}"."{table}" WHERE {text} LIKE ANY($1)',  # noqa: S608 - names of the database
            [f"%{each}%" for each in sought],
        )
        if count:
            yield f"{schema}.{table}.{column}: {count}"
    for key, file in stage.objects().items():
        if account_id in key or word.encode() in file.read_bytes():
            yield f"bucket: {key}"
    client = stage.redis()
    for key in client.scan_iter(count=1000):
        if word.encode() in key + _redis_value(client, key):
            yield f"redis: {key!r}"


def _redis_value(client: Any, key: bytes) -> bytes:
    kind = client.type(key)
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        b"set": client.smembers,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"stream": client.xrange,
    }
    return repr(read[kind](key)).encode() if kind in read else b""


def test_account_is_closed_kept_closed_again_and_then_erased_everywhere(shaken: Stage, owner: Owner) -> None:
    before = list(find_everywhere(shaken, owner.word, owner.account_id))
    places = {re.split(r"[.:]", place)[0] for place in before}
    assert places >= {"users", "generation", "gallery", "models", "bucket"}, "the search finds nothing"
    key = owner.post("/users/me/api-keys", {"name": owner.word, "scopes": [1]})["key"]
    other = dict(owner.tokens)
    owner.sign_in()

    closed = owner.ask("DELETE", "/users/me")

    assert "erase_time" in closed
    assert (
        owner.refused("POST", "/auth/refresh", json={"refresh_token": other["refresh_token"]})
        == "REFRESH_TOKEN_INVALID"
    )
    by_key = shaken.http.get(f"{_API}/users/me", headers={"x-api-key": key})
    assert by_key.json()["details"][0]["reason"] == "API_KEY_INVALID"
    assert owner.mail("Your account will be deleted")
    owner.sign_in()
    for verb, path, body in (
        ("GET", "/users/me", None),
        ("GET", "/images", None),
        ("POST", "/generate/text-to-image", {"prompt": owner.word}),
        ("POST", "/users/me/api-keys", {"name": "a", "scopes": [1]}),
        ("DELETE", "/users/me", None),
    ):
        assert owner.refused(verb, path, json=body) == "ACCOUNT_CLOSED", path
    owner.refresh()
    assert owner.ask("GET", "/users/me/deletion") == closed

    assert owner.post("/users/me/deletion:cancel", {}) == {}
    owner.refresh()
    assert owner.ask("GET", "/images")["images"]
    assert owner.ask("DELETE", "/users/me")["erase_time"] > closed["erase_time"]
    running = find_everywhere(shaken, owner.word, owner.account_id)
    assert next(running)

    _erase_though_parts_die(shaken, owner)

    assert list(find_everywhere(shaken, owner.word, owner.account_id)) == []
    kept = "SELECT count(*) FROM payment.transactions WHERE account_id = $1"
    assert shaken.value(kept, uuid.UUID(owner.account_id)) > 0
    assert shaken.audit() == []
    assert owner.refused("POST", "/auth/login", json={"email": owner.email, "password": PASSWORD}) == "LOGIN_FAILED"


def _erase_though_parts_die(stage: Stage, owner: Owner) -> None:
    """Lets the time be over while svc_gallery stands still, and kills svc_user when the jobs are gone."""
    account_id = uuid.UUID(owner.account_id)
    stage.freeze("svc_gallery")
    try:
        over = "UPDATE users.users SET erase_time = now() - interval '2 minutes' WHERE account_id = $1 RETURNING 1"
        assert stage.rows(over, account_id)
        jobs = "SELECT count(*) FROM generation.jobs WHERE account_id = $1"
        until(lambda: stage.value(jobs, account_id) == 0, "the end of the jobs", within_seconds=90)
        assert stage.value("SELECT count(*) FROM users.users WHERE account_id = $1", account_id) == 1
        stage.fleet.kill("svc_user")
    finally:
        stage.thaw("svc_gallery")
    users = "SELECT count(*) FROM users.users WHERE account_id = $1"
    until(lambda: stage.value(users, account_id) == 0, "the end of the account", within_seconds=120)


def test_account_with_a_plan_is_not_deleted(shaken: Stage) -> None:
    owner = Owner(shaken)
    shaken.fleet.administrator.set_tier(owner.account_id, "pro")
    assert owner.refused("DELETE", "/users/me") == "SUBSCRIPTION_EXISTS"
    assert owner.ask("GET", "/users/me")["email"] == owner.email
