"""The file of sessions: who may read it, and what happens to it when two commands use it at once."""

import multiprocessing
import stat
from pathlib import Path

from studio.cli.credentials import Credentials, Session

_SESSION = Session(email="maya@example.com", access_token="access", refresh_token="refresh", expire_time=1000.0)


def test_session_is_found_by_its_deployment_only(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path / "config")
    credentials.save("one:8080", _SESSION)
    assert credentials.find("one:8080") == _SESSION
    assert credentials.find("two:8080") is None


def test_forgotten_session_leaves_the_others(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path)
    for endpoint in ("one:8080", "two:8080"):
        credentials.save(endpoint, _SESSION)
    credentials.forget("one:8080")
    assert (credentials.find("one:8080"), credentials.find("two:8080")) == (None, _SESSION)


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    Credentials(tmp_path / "config").save("one:8080", _SESSION)
    file = tmp_path / "config" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_session_is_fresh_until_half_a_minute_before_its_end() -> None:
    assert _SESSION.is_fresh(969.0)
    assert not _SESSION.is_fresh(971.0)


def _count_up(folder: Path, times: int) -> None:
    credentials = Credentials(folder)
    for _ in range(times):
        with credentials.exclusively():
            before = credentials.find("one:8080")
            number = int(before.refresh_token) if before else 0
            credentials.save("one:8080", Session("maya@example.com", "access", str(number + 1), 0.0))


def test_commands_at_the_same_time_lose_no_change(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("spawn").Process(target=_count_up, args=(tmp_path, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    session = Credentials(tmp_path).find("one:8080")
    assert session is not None
    assert session.refresh_token == "150"
