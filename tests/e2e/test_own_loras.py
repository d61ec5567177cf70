"""`pingvas loras` against a running stack: a LoRA of one's own from the upload to its deletion."""

from pathlib import Path

from tests.e2e.stage import Stage
from tests.e2e.test_command_line import Person
from tests.factories.own_loras import lora_bytes, overlapping


def test_lora_is_uploaded_used_and_deleted_by_commands(calm: Stage, tmp_path: Path) -> None:
    ink = Person(calm.fleet, tmp_path)
    email = "ink@example.com"
    ink.succeed("register", email)
    ink.succeed("admin", "grant", email, "20")
    good, bad = tmp_path / "wash.safetensors", tmp_path / "bad.safetensors"
    good.write_bytes(lora_bytes())
    bad.write_bytes(overlapping())

    without = ink.run("loras", "upload", str(good), "--family", "tiny")
    assert (without.returncode, "pingvas plans" in without.stderr) == (1, True), without.stderr
    ink.succeed("admin", "set-tier", email, "studio")
    refused = ink.run("loras", "upload", str(bad), "--family", "tiny")
    assert (refused.returncode, "overlaps" in refused.stderr) == (1, True), refused.stderr

    made = ink.ask("loras", "upload", str(good), "--family", "tiny", "--name", "Wash", "--trigger-word", "sumi-e")
    assert (made["state"], made["module_count"], made["trigger_words"]) == ("LORA_STATE_READY", 2, ["sumi-e"])
    model_id = str(made["model_id"])
    listed = ink.succeed("loras", "list")
    assert model_id in listed
    assert "1 of 50 LoRAs" in listed
    assert model_id in ink.succeed("models")
    job = ink.ask("generate", f"a boat <lora:{model_id}:0.5>", "--steps", "3")
    assert job["text_to_image"]["loras"] == [{"model_id": model_id, "weight": 0.5}]  # type: ignore[index]

    assert ink.succeed("loras", "delete", model_id) == f"{model_id} is deleted.\n"
    gone = ink.run("loras", "delete", model_id)
    assert gone.returncode == 1
    assert model_id not in ink.succeed("models")
