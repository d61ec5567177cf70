"""The `pingvas` command and the printed examples against a running stack, as a person would use them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from studio.cli.credentials import Credentials
from studio.examples import curl_example, python_example
from tests.harness import Fleet

_PASSWORD = "correct horse battery"
_EMAIL = "maya@example.com"
_PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture(autouse=True, scope="module")
def _hear_ctrl_c() -> Iterator[None]:
    """Tests that were started in the background are deaf to Ctrl-C, and would make all that they start deaf as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Person:
    """Somebody at a terminal, with a configuration folder of his own."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "PINGVAS_CONFIG_DIR": str(folder / "config"),
            "PINGVAS_DATA_DIR": str(fleet.layout.data_dir),
            "PINGVAS_PASSWORD": _PASSWORD,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command and returns it while it runs."""
        command = [sys.executable, "-m", "studio.cli.main", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        process = self.start(*arguments)
        said, complained = process.communicate(timeout=_PATIENCE_SECONDS)
        assert "Traceback" not in complained
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    def succeed(self, *arguments: str) -> str:
        """Runs a command that must succeed and returns what it said."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: str) -> dict[str, object]:
        """Runs a command with --json and returns its document."""
        document: dict[str, object] = json.loads(self.succeed(*arguments, "--json"))
        return document


@pytest.fixture(scope="module")
def maya(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A registered user with credits."""
    person = Person(fleet, tmp_path_factory.mktemp("maya"))
    assert person.succeed("register", _EMAIL) == f"Registered {_EMAIL} and logged in at {fleet.grpc}.\n"
    assert person.succeed("admin", "grant", _EMAIL, "100") == f"Granted {_EMAIL} 100 credits.\n"
    return person


@pytest.fixture
def stranger(fleet: Fleet, tmp_path: Path) -> Person:
    return Person(fleet, tmp_path)


def test_status_names_every_process_as_healthy(maya: Person) -> None:
    document = maya.ask("status")
    processes = {process["name"]: process for process in document["processes"]}  # type: ignore[attr-defined]
    services = {"svc_user", "svc_payment", "svc_generation", "svc_gallery", "svc_models"}
    assert set(processes) == services | {"postgres", "redis", "s3", "envoy", "edge_http", "worker-0"}
    assert {process["health"] for process in processes.values()} == {"healthy"}
    assert all(Path(process["log"]).exists() and process["pid"] for process in processes.values())
    assert document["grpc"] == processes["envoy"]["address"] == maya.fleet.grpc


def test_generate_saves_the_picture_and_says_what_it_cost(maya: Person) -> None:
    before = maya.ask("credits")["available"]
    document = maya.ask("generate", "a red fox in snow", "--steps", "4", "--seed", "7", "--out", "pictures")
    (file,) = document["files"]  # type: ignore[misc]
    assert file == "pictures/a-red-fox-in-snow-7.png"
    with Image.open(maya.folder / file) as picture:
        assert picture.size == (256, 256)
    spent = round(float(before) - float(maya.ask("credits")["available"]), 3)  # type: ignore[arg-type]
    assert spent == float(document["credits_used"]) > 0  # type: ignore[arg-type]


def test_same_seed_gives_the_same_picture_in_a_file_of_its_own(maya: Person) -> None:
    recipe = ("generate", "a lighthouse", "--steps", "3", "--seed", "11")
    said = maya.succeed(*recipe), maya.succeed(*recipe)
    files = [maya.folder / re.findall(r"^Saved (.+)$", each, re.MULTILINE)[0] for each in said]
    assert [file.name for file in files] == ["a-lighthouse-11.png", "a-lighthouse-11-2.png"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "seed 11 makes it again" in said[0]


def test_jobs_and_images_show_what_was_made(maya: Person) -> None:
    made = maya.ask("generate", "an owl", "--steps", "3")
    job_id = str(made["job_id"])
    assert maya.ask("jobs", "show", job_id)["state"] == "JOB_STATE_COMPLETED"
    assert maya.ask("jobs", "watch", job_id)["credits_used"] == made["credits_used"]
    assert job_id in maya.succeed("jobs", "list")
    assert made["images"][0]["image_id"] in maya.succeed("images", "list")  # type: ignore[index]


def test_ctrl_c_cancels_the_job_at_the_server(maya: Person) -> None:
    process = maya.start("generate", "a slow one", "--steps", "30", "--width", "768", "--height", "768")
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(" %\n"):
            process.send_signal(signal.SIGINT)
            break
    _, complained = process.communicate(timeout=_PATIENCE_SECONDS)
    assert process.returncode == 130
    job_id = re.findall(r"the job (\S+) was cancelled", complained)[0]
    job = maya.ask("jobs", "show", job_id)
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert 0 < float(job["credits_used"]) <= float(job["credits_held"])  # type: ignore[arg-type]


def test_waiting_job_is_cancelled_for_nothing(maya: Person) -> None:
    # Four large pictures: however slow the commands are that follow, the second job doesn't get its turn before them.
    maya.succeed("admin", "set-tier", _EMAIL, "pro")
    large = ("--steps", "30", "--width", "768", "--height", "768", "--count", "4")
    running = maya.start("generate", "first in line", *large)
    assert running.stdout is not None
    assert any("started" in line for line in running.stdout)
    waiting = maya.start("generate", "second in line", "--steps", "3")
    assert waiting.stdout is not None
    job_id = re.findall(r"Job (\S+) accepted", waiting.stdout.readline())[0]
    assert maya.ask("jobs", "cancel", job_id)["state"] == "JOB_STATE_CANCELLED"
    assert float(maya.ask("jobs", "show", job_id).get("credits_used") or "0") == 0  # type: ignore[arg-type]
    assert waiting.wait(timeout=_PATIENCE_SECONDS) == 1
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=_PATIENCE_SECONDS) == 130
    maya.succeed("admin", "set-tier", _EMAIL, "free")


def test_access_token_that_ends_is_renewed_unseen(maya: Person) -> None:
    credentials = Credentials(maya.folder / "config")
    before = credentials.find(maya.fleet.grpc)
    assert before is not None
    credentials.save(maya.fleet.grpc, replace(before, expire_time=time.time() - 1))
    maya.succeed("credits")
    after = credentials.find(maya.fleet.grpc)
    assert after is not None
    assert after.refresh_token != before.refresh_token


def test_broken_access_token_is_renewed_unseen(maya: Person) -> None:
    credentials = Credentials(maya.folder / "config")
    session = credentials.find(maya.fleet.grpc)
    assert session is not None
    credentials.save(maya.fleet.grpc, replace(session, access_token=session.access_token[:-8] + "AAAAAAAA"))
    maya.succeed("credits")


def test_commands_at_the_same_time_renew_the_session_once(maya: Person) -> None:
    """A refresh token that is used twice revokes the session, so each of these would fail if two of them used it."""
    credentials = Credentials(maya.folder / "config")
    session = credentials.find(maya.fleet.grpc)
    assert session is not None
    credentials.save(maya.fleet.grpc, replace(session, expire_time=0.0))
    commands = [maya.start("credits") for _ in range(4)]
    outcomes = [(*command.communicate(timeout=_PATIENCE_SECONDS), command.returncode) for command in commands]
    assert [outcome[2] for outcome in outcomes] == [0, 0, 0, 0], outcomes
    maya.succeed("credits")


def test_revoked_session_asks_to_log_in(stranger: Person) -> None:
    stranger.succeed("register", "leaver@example.com")
    credentials = Credentials(stranger.folder / "config")
    session = credentials.find(stranger.fleet.grpc)
    assert session is not None
    stranger.succeed("logout")
    assert "you are not logged in" in stranger.run("credits").stderr
    credentials.save(stranger.fleet.grpc, replace(session, expire_time=0.0))
    done = stranger.run("credits")
    assert (done.returncode, "pingvas login" in done.stderr) == (1, True)


def test_generate_without_credits_says_what_it_costs(stranger: Person) -> None:
    stranger.succeed("register", "poor@example.com")
    done = stranger.run("generate", "gold", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"You have 0\.000 credits and it costs \d+\.\d{3}", done.stderr)


def test_tier_that_is_set_is_shown_and_lifts_its_limits(stranger: Person) -> None:
    email = "grower@example.com"
    stranger.succeed("register", "--email", email)
    stranger.succeed("admin", "grant", email, "20")
    too_wide = ("generate", "a wide view", "--width", "1024", "--height", "64", "--steps", "2")
    refused = stranger.run(*too_wide)
    assert (refused.returncode, "The tier free allows 768" in refused.stderr) == (1, True)
    stranger.succeed("admin", "set-tier", email, "starter")
    assert "tier starter" in stranger.succeed("credits")
    stranger.succeed(*too_wide)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("generate", "   "), "text_to_image.prompt: must contain something other than white space"),
        (("generate", "a", "--width", "100"), "text_to_image.width_px: must be a multiple of 8"),
        (("generate", "a", "--model", "no-such-model"), "no-such-model"),
        (("jobs", "show", "not-an-id"), "job_id"),
        (("jobs", "cancel", "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"), "pingvas jobs list"),
        (("login", _EMAIL, "--password", "another password"), "pingvas register"),
        (("register", _EMAIL), "pingvas login"),
        (("register", "nobody", "--password", "a long password"), "email"),
        (("admin", "grant", "nobody@example.com", "5"), "pingvas register"),
    ],
)
def test_refusal_says_what_to_do_and_exits_with_1(maya: Person, arguments: tuple[str, ...], complaint: str) -> None:
    done = maya.run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr


def test_logs_show_a_process_by_its_name(maya: Person) -> None:
    assert "database system is ready" in maya.succeed("logs", "postgres", "--lines", "1000")
    assert "svc_user" in maya.run("logs", "nobody").stderr


def test_printed_examples_work_as_they_are(maya: Person) -> None:
    shell = curl_example(maya.fleet.http, _EMAIL, _PASSWORD)
    answer = subprocess.run(
        ["/bin/bash", "-c", shell], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True
    )
    assert json.loads(answer.stdout)["state"] == "JOB_STATE_QUEUED"
    program = python_example(maya.fleet.grpc, _EMAIL, _PASSWORD)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=maya.environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "completed" in lines[-2]
    assert lines[-1].startswith("http://")
