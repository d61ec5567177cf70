"""Guessing a password through the edge: stopped by network, and the owner still gets in."""

from collections import Counter
from itertools import count

import httpx

from tests.e2e.stage import CALL_SECONDS, PASSWORD, Stage

_numbers = count(1)


def login(
    stage: Stage, email: str, password: str, source: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Logs in by JSON from one of the addresses of this machine."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(base_url=stage.fleet.http, transport=transport, timeout=CALL_SECONDS) as client:
        body = {"email": email, "password": password}
        return client.post("/api/v1/auth/login", json=body, headers=headers or {})


def test_password_can_not_be_guessed_and_its_owner_is_not_locked_out(studio: Stage) -> None:
    owner = studio.person()
    forged = (
        {"x-forwarded-for": f"203.0.113.{n}", "x-envoy-external-address": f"203.0.113.{n}", "x-edge-secret": "a guess"}
        for n in range(60)
    )

    guesses = Counter(
        login(studio, owner.email, "a wrong password", "127.0.0.77", headers).status_code for headers in forged
    )
    stopped = login(studio, owner.email, PASSWORD, "127.0.0.77")
    let_in = login(studio, owner.email, PASSWORD, "127.0.0.1")

    assert guesses.keys() == {401, 429}
    assert guesses[401] <= 12
    assert stopped.status_code == 429
    info = {detail["@type"].rpartition(".")[2]: detail for detail in stopped.json()["details"]}
    assert info["ErrorInfo"]["reason"] == "RATE_LIMITED"
    assert 0 < float(info["RetryInfo"]["retry_delay"].rstrip("s")) <= 60
    assert let_in.status_code == 200
