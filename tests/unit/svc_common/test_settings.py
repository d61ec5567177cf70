"""Settings: read from the environment, and refused with a message that says what to change."""

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from svc_common.settings import ServiceSettings, load
from tests.factories.deployed import SETTINGS


class Small(BaseSettings):
    port: int = Field(ge=1, le=65535, description="a port to listen on")
    key_file: Path = Field(description="a file with a key")


def test_settings_come_from_plain_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8001")
    monkeypatch.setenv("KEY_FILE", "/a/key")

    assert load(Small) == Small(port=8001, key_file=Path("/a/key"))


def test_settings_come_from_files_of_the_folder_of_secrets_unless_the_environment_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text("8001\n")
    (tmp_path / "key_file").write_text("/from/a/file")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("KEY_FILE", "/a/key")

    assert load(Small) == Small(port=8001, key_file=Path("/a/key"))


def test_every_wrong_setting_is_named_with_what_it_should_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.delenv("KEY_FILE", raising=False)

    with pytest.raises(SystemExit) as caught:
        load(Small)

    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert "PORT" in message
    assert "a port to listen on" in message
    assert "KEY_FILE: is not set" in message
    assert "a file with a key" in message


def test_wrong_secret_is_not_repeated_in_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me:s3cr3t@host/db")

    with pytest.raises(SystemExit):
        load(ServiceSettings)

    message = capsys.readouterr().err
    assert "DATABASE_URL" in message
    assert "s3cr3t" not in message


@pytest.mark.parametrize("settings", [*SETTINGS.values()], ids=lambda settings: settings.__name__)
def test_settings_repeat_no_secret_and_ignore_those_of_others(settings: type[BaseSettings]) -> None:
    config = settings.model_config
    assert (config["extra"], config["frozen"], config["hide_input_in_errors"]) == ("ignore", True, True)
    assert [name for name, field in settings.model_fields.items() if not field.description] == []
