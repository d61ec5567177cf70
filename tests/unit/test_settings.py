"""Settings: read from the environment, and refused with a message that says what to change."""

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from svc_common.settings import ServiceSettings, load


class Small(BaseSettings):
    port: int = Field(ge=1, le=65535, description="a port to listen on")
    key_file: Path = Field(description="a file with a key")


def test_settings_come_from_plain_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8001")
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


def test_every_setting_is_documented() -> None:
    assert [name for name, field in ServiceSettings.model_fields.items() if not field.description] == []
