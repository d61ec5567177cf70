"""The port at which the command line waits for a browser: it hears only the one that shows its state."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from studio.cli.provider_login import Waiting


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    with Waiting() as made:
        yield made


def test_code_is_heard_with_the_state_only(waiting: Waiting, capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: heard.append(waiting.answer()))
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{waiting.port}") as browser:
        refused = [
            browser.get("/favicon.ico"),
            browser.get("/", params={"code": "forged"}),
            browser.get("/", params={"code": "forged", "state": "ключ"}),
            browser.get("/other", params={"code": "forged", "state": waiting.state}),
        ]
        answer = browser.get("/", params={"code": "once", "state": waiting.state})
    thread.join()

    assert [each.status_code for each in refused] == [404] * 4
    assert (answer.status_code, answer.headers["referrer-policy"]) == (200, "no-referrer")
    assert heard == [{"code": "once", "state": waiting.state}]
    assert capfd.readouterr() == ("", "")


def test_port_is_open_on_this_machine_only(waiting: Waiting) -> None:
    assert waiting.server_address[0] == "127.0.0.1"
    assert waiting.port >= 1024
