"""A copy of everything of an account, asked for at the edge of a whole fleet, with what was put in by the public API."""

import io
import json
import uuid
import zipfile
from typing import Any

from tests.e2e.stage import Person, Stage, until
from tests.e2e.test_deletion import Owner

_EXPORT = "/users/me/export"


def _seeded(stage: Stage) -> tuple[Owner, dict[str, Any]]:
    """Returns somebody with something in every service, and the ids of what they have."""
    owner = Owner(stage)
    token = owner.mail("Confirm your e-mail address").link.rpartition("#token=")[2]
    owner.post("/auth/verify-email", {"token": token})
    stage.fleet.administrator.grant(owner.account_id, 100_000)
    job = owner.post("/generate/text-to-image", {"prompt": owner.word, "width_px": 64, "height_px": 64})
    Person(stage, owner.email, uuid.UUID(owner.account_id)).end_of(job["job_id"])
    image = owner.ask("GET", "/images")["images"][0]
    share = owner.post(f"/images/{image['image_id']}/share", {"with_recipe": True})
    board = owner.post("/boards", {"name": owner.word})
    owner.post(f"/boards/{board['board_id']}/images", {"image_ids": [image["image_id"]]})
    key = owner.post("/users/me/api-keys", {"name": owner.word, "scopes": [1]})
    ids = {"job": job["job_id"], "board": board["board_id"], "image": image, "key": key, "share": share}
    return owner, ids


def test_copy_holds_what_was_put_in_of_one_account_and_its_mail_opens_it(calm: Stage) -> None:
    stranger, _ = _seeded(calm)
    owner, ids = _seeded(calm)
    owner.sign_in()
    image_id = ids["image"]["image_id"]

    asked = owner.post(_EXPORT, {})
    assert owner.post(_EXPORT, {})["export_id"] == asked["export_id"]
    until(lambda: owner.ask("GET", _EXPORT)["state"] == "ACCOUNT_EXPORT_STATE_READY", "the copy", within_seconds=60)

    ready = owner.ask("GET", _EXPORT)
    by_mail = calm.http.get(owner.mail("The copy of your data is ready").link).raise_for_status().content
    assert calm.http.get(ready["download_url"]).raise_for_status().content == by_mail
    assert int(ready["size_bytes"]) == len(by_mail)
    with zipfile.ZipFile(io.BytesIO(by_mail)) as found:
        files = {info.filename: found.read(info) for info in found.infolist()}
    records = {name: json.loads(content) for name, content in files.items() if name.endswith(".json")}
    assert records["account/users.json"][0]["display_name"] == owner.word
    assert [each["api_key_id"] for each in records["account/api_keys.json"]] == [ids["key"]["api_key_id"]]
    assert {each["kind"] for each in records["account/audit_events.json"]} >= {
        "AUDIT_EVENT_KIND_ACCOUNT_EXPORT_REQUESTED",
        "AUDIT_EVENT_KIND_API_KEY_CREATED",
    }
    listed = owner.ask("GET", "/credits/history?page_size=200")["transactions"]
    assert records["credits/transactions.json"] == [_without_defaults(each) for each in listed]
    (job,) = records["jobs/jobs.json"]
    assert (job["job_id"], job["text_to_image"]["prompt"]) == (ids["job"], owner.word)
    assert [each["name"] for each in records["gallery/boards.json"]] == [owner.word]
    assert records["gallery/board_images.json"] == [{"board_id": ids["board"], "image_id": image_id}]
    assert records["gallery/share_links.json"][0]["image_id"] == image_id
    assert records["models/loras.json"] == []
    assert records[f"pictures/{image_id}.json"]["prompt"] == owner.word
    original = calm.http.get(owner.ask("GET", f"/images/{image_id}")["content_url"]).raise_for_status().content
    assert files[f"pictures/{image_id}.png"] == original
    everything = by_mail + b"".join(files.values())
    for foreign in (stranger.word, stranger.account_id, ids["key"]["key"], ids["share"]["share_token"]):
        assert foreign.encode() not in everything
    assert b"X-Amz-Signature" not in everything
    kept = "SELECT password_hash FROM users.users WHERE account_id = $1"
    assert calm.value(kept, uuid.UUID(owner.account_id)).encode() not in everything


def _without_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a document of the API as a copy has it: without fields that hold nothing."""
    return {
        name: value for name, value in document.items() if value not in ("", 0, False, [], "GRANT_KIND_UNSPECIFIED")
    }
