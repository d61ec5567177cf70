"""The `pingvas` command and the printed examples against a running stack, as a person would use them."""

import asyncio
import csv
import hashlib
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest
from PIL import Image

from studio.cli.credentials import Credentials
from studio.examples import curl_example, python_example
from tests.factories.noted import noted_png
from tests.harness import Fleet

STUDIO_PICTURE = Path(__file__).parents[2] / "docs/studio.webp"
"""A picture that no model made."""

_PASSWORD = "correct horse battery"
_EMAIL = "maya@example.com"
_SYSTEM = {"Darwin": "macOS"}.get(platform.system(), platform.system())
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
    servers = {"postgres", "redis", "s3", "mailbox", "payments"}
    assert set(processes) == services | servers | {"envoy", "edge_http", "worker-0"}
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


def test_history_of_credits_is_listed_filtered_and_exported(maya: Person) -> None:
    job = maya.ask("generate", "a blue heron", "--steps", "2")
    listed = maya.ask("credits", "history", "--job", str(job["job_id"]))["transactions"]
    assert [each["kind"] for each in listed] == ["TRANSACTION_KIND_SETTLE", "TRANSACTION_KIND_RESERVE"]  # type: ignore[attr-defined]
    said = maya.succeed("credits", "history", "--kind", "grant")
    assert said.endswith("Received 100.000 credits for free\n")
    assert "No such movement." in maya.succeed("credits", "history", "--day", "2020-01-01")
    rows = csv.DictReader(io.StringIO(maya.succeed("credits", "history", "--csv")))
    assert {"grant", "reserve", "settle"} <= {row["kind"] for row in rows}
    parts = csv.DictReader(io.StringIO(maya.succeed("credits", "--csv")))
    assert [part["kind"] for part in parts] == ["promotional"]


def test_same_seed_gives_the_same_picture_in_a_file_of_its_own(maya: Person) -> None:
    recipe = ("generate", "a lighthouse", "--steps", "3", "--seed", "11")
    said = maya.succeed(*recipe), maya.succeed(*recipe)
    files = [maya.folder / re.findall(r"^Saved (.+)$", each, re.MULTILINE)[0] for each in said]
    assert [file.name for file in files] == ["a-lighthouse-11.png", "a-lighthouse-11-2.png"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "seed 11 makes it again" in said[0]


def test_picture_is_made_again_from_its_file_alone(maya: Person) -> None:
    given = (
        "--steps",
        "3",
        "--seed",
        "9007199254740991",
        "--negative",
        "fog",
        "--guidance",
        "5",
        "--scheduler",
        "ddim",
    )
    first = maya.ask("generate", "a lighthouse at dawn", *given, "--width", "128", "--height", "192")
    (name,) = first["files"]  # type: ignore[misc]

    again = maya.run("generate", "--from", name, "--json")
    by_id = maya.ask("generate", "--from", first["images"][0]["image_id"])  # type: ignore[index]

    assert (again.returncode, again.stderr) == (0, f"Recipe of {name}, written by Pingvas Studio.\n")
    second = json.loads(again.stdout)
    assert second["text_to_image"] == first["text_to_image"] == by_id["text_to_image"]
    pixels = {(maya.folder / made["files"][0]).read_bytes() for made in (first, second, by_id)}  # type: ignore[index]
    assert len(pixels) == 1


def test_picture_is_varied_by_what_is_given_beside_it(maya: Person) -> None:
    first = maya.ask("generate", "a lighthouse at dusk", "--steps", "3", "--seed", "5")
    (name,) = first["files"]  # type: ignore[misc]
    varied = maya.ask("generate", "--from", name, "--prompt", "a lighthouse at noon", "--steps", "2")
    expected = {**first["text_to_image"], "prompt": "a lighthouse at noon", "step_count": 2}  # type: ignore[dict-item]
    assert varied["text_to_image"] == expected
    other = maya.ask("generate", "--from", name, "--new-seed")["text_to_image"]
    assert other.pop("seed") != "5"  # type: ignore[attr-defined]
    assert other == {key: value for key, value in first["text_to_image"].items() if key != "seed"}  # type: ignore[attr-defined]


def test_picture_made_from_another_one_asks_for_that_one(maya: Person) -> None:
    (source,) = maya.ask("generate", "a boat", "--steps", "3", "--seed", "5")["files"]  # type: ignore[misc]
    made = maya.ask("generate", "a red boat", "--image", source, "--strength", "0.5", "--steps", "4", "--seed", "6")
    (name,) = made["files"]  # type: ignore[misc]

    refused = maya.run("generate", "--from", name)
    again = maya.ask("generate", "--from", name, "--image", source)
    other = maya.run("generate", "--from", name, "--image", name)

    assert refused.returncode == 2
    assert hashlib.sha256((maya.folder / source).read_bytes()).hexdigest() in refused.stderr
    assert (maya.folder / again["files"][0]).read_bytes() == (maya.folder / name).read_bytes()  # type: ignore[index]
    assert (other.returncode, "isn't the file" in other.stderr) == (0, True)
    larger = maya.ask("upscale", source)
    refused = maya.run("generate", "--from", larger["files"][0], "--image", source, "--width", "64")  # type: ignore[index]
    assert (refused.returncode, "no width_px" in refused.stderr) == (2, True)
    again = maya.ask("generate", "--from", larger["files"][0], "--image", source)  # type: ignore[index]
    files = [(maya.folder / each["files"][0]).read_bytes() for each in (larger, again)]  # type: ignore[index]
    assert files[0] == files[1]


def test_recipe_of_another_tool_is_followed_as_far_as_it_goes(maya: Person) -> None:
    text = "a red circle\nSteps: 2, Sampler: Euler a, CFG scale: 5, Seed: 7, Size: 128x64, Clip skip: 2, Model: pingvas_tiny"
    (maya.folder / "foreign.png").write_bytes(noted_png(parameters=text))
    done = maya.run("generate", "--from", "foreign.png", "--json")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "Recipe of foreign.png, written by AUTOMATIC1111's web UI.",
        "  left out: Clip skip (2). Nothing here corresponds to it.",
    ]
    made = json.loads(done.stdout)["text_to_image"]
    assert (made["model_id"], made["scheduler"], made["seed"], made["width_px"]) == (
        "pingvas-tiny",
        "euler_a",
        "7",
        128,
    )


def test_jobs_and_images_show_what_was_made(maya: Person) -> None:
    made = maya.ask("generate", "an owl", "--steps", "3")
    job_id = str(made["job_id"])
    assert maya.ask("jobs", "show", job_id)["state"] == "JOB_STATE_COMPLETED"
    assert maya.ask("jobs", "watch", job_id)["credits_used"] == made["credits_used"]
    assert job_id in maya.succeed("jobs", "list")
    assert made["images"][0]["image_id"] in maya.succeed("images", "list")  # type: ignore[index]


def test_usage_is_what_the_jobs_cost(stranger: Person) -> None:
    stranger.succeed("register", "owl@example.com")
    stranger.succeed("admin", "grant", "owl@example.com", "100")
    made = stranger.ask("generate", "an owl", "--steps", "3")
    used = stranger.ask("usage", "--days", "7")
    assert (used["credits"], used["job_count"], used["image_count"]) == (made["credits_used"], 1, 1)
    told = stranger.succeed("usage")
    assert f"pingvas-tiny  {made['credits_used']} credits, jobs: 1, pictures: 1" in told
    assert "completed: 1, failed: 0, cancelled: 0\nhalf waited up to " in told
    assert (stored := int(used["storage"]["image_bytes"])) > 0
    assert f"storage: {stored / 1024**2:.1f} MiB of 1.00 GiB" in told


def test_profile_is_changed_and_shows_a_picture_of_the_gallery(maya: Person) -> None:
    maya.succeed("generate", "an owl", "--steps", "3")
    image_id = maya.ask("images", "list", "--limit", "1")["images"][0]["image_id"]  # type: ignore[index]
    changed = maya.ask("profile", "set", "--name", "Maya M.", "--locale", "ko", "--avatar", image_id)
    assert (changed["display_name"], changed["locale"], bool(changed["avatar"])) == ("Maya M.", "ko", True)
    assert maya.ask("profile", "show") == changed
    assert "avatar" not in maya.ask("profile", "set", "--locale", "en", "--no-avatar")
    refused = maya.run("profile", "set", "--avatar", "no-such-file.png")
    assert (refused.returncode, "neither a file nor the id" in refused.stderr) == (2, True)


def test_pictures_are_sorted_onto_boards(maya: Person) -> None:
    maya.succeed("generate", "a lighthouse", "--steps", "3")
    image_id = maya.ask("images", "list", "--limit", "1")["images"][0]["image_id"]  # type: ignore[index]
    outer = maya.succeed("boards", "create", "Journeys").strip()
    inner = maya.succeed("boards", "create", "Sea", "--in", outer).strip()
    maya.succeed("boards", "add", inner, image_id)
    listed = [f"{outer}       0  Journeys", f"{inner}       1    Sea"]
    assert maya.succeed("boards", "list").splitlines() == listed
    left_out = maya.run("boards", "add", inner, image_id, outer)
    assert (left_out.returncode, "1 of 2 pictures were left out" in left_out.stderr) == (1, True)
    maya.succeed("boards", "remove", inner, image_id)
    assert maya.succeed("boards", "delete", outer) == "Deleted. Pictures that stay in the gallery: 0\n"
    assert maya.succeed("boards", "list").splitlines() == [f"{inner}       0  Sea"]


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


def test_clearing_cancels_what_waits_and_on_request_what_runs(maya: Person) -> None:
    maya.succeed("admin", "set-tier", _EMAIL, "pro")
    large = ("--steps", "30", "--width", "768", "--height", "768", "--count", "4")
    running = maya.start("generate", "first in line", *large)
    assert running.stdout is not None
    assert any("started" in line for line in running.stdout)
    waiting = [maya.start("generate", f"{place} in line", "--steps", "3") for place in ("second", "third")]
    for each in waiting:
        assert each.stdout is not None
        assert "accepted" in each.stdout.readline()

    assert maya.succeed("jobs", "clear") == "Cancelled 2 jobs that waited.\n"
    assert [each.wait(timeout=_PATIENCE_SECONDS) for each in waiting] == [1, 1]
    assert running.poll() is None
    assert maya.ask("jobs", "clear", "--running") == {"cancelled_count": 0, "stopping_count": 1}
    assert running.wait(timeout=_PATIENCE_SECONDS) == 1
    assert maya.ask("credits")["held"] == "0.000"
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


def test_lost_password_is_replaced_by_the_link_in_the_mailbox(stranger: Person) -> None:
    email, new_password = "forgetful@example.com", "a horse of another colour"
    stranger.succeed("register", email)
    link = _link_in_mail(stranger, email, "Confirm your e-mail address")
    assert link.startswith(f"{stranger.fleet.http}/verify-email#token=")
    assert stranger.succeed("account", "verify", link) == f"{email} is confirmed.\n"
    assert stranger.ask("credits")["available"] == "100.000"
    assert "link" in stranger.run("account", "verify", link).stderr

    stranger.succeed("account", "forgot", email)
    link = _link_in_mail(stranger, email, "Choose a new password")
    assert email in stranger.succeed("account", "reset", link, "--password", new_password)
    assert stranger.run("login", email).returncode == 1
    done = stranger.run("account", "change-password", "--new-password", _PASSWORD)
    assert (done.returncode, "current password is wrong" in done.stderr) == (1, True)
    stranger.succeed("account", "change-password", "--password", new_password, "--new-password", _PASSWORD)
    stranger.succeed("login", email)

    listed = json.loads(stranger.succeed("account", "sessions", "--json"))
    assert [session.get("is_current", False) for session in listed] == [True, False]
    assert {session["device"] for session in listed} == {f"pingvas on {_SYSTEM}"}
    assert {session["network"] for session in listed} == {"127.0.0.1"}
    assert stranger.succeed("account", "end-session", listed[1]["session_id"]) == "The session has ended.\n"
    assert stranger.succeed("account", "end-session", "--others") == "Sessions ended: 0.\n"


def test_program_calls_with_an_api_key_and_no_further_than_its_scopes(stranger: Person) -> None:
    email = "programmer@example.com"
    stranger.succeed("register", email)
    stranger.succeed("account", "verify", _link_in_mail(stranger, email, "Confirm your e-mail address"))
    key = stranger.succeed("keys", "create", "reader", "--scope", "read").strip()
    assert key.startswith("pgv_local_")

    with httpx.Client(base_url=f"{stranger.fleet.http}/api/v1", timeout=_PATIENCE_SECONDS) as program:
        for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
            balance = program.get("/credits/balance", headers=headers)
            assert (balance.status_code, balance.json()["available"]) == (200, "100.000")
        assert program.get("/users/me", auth=("", key)).json()["email"] == email
        refused = program.post("/users/me/api-keys", headers={"x-api-key": key}, json={"name": "a", "scopes": [1]})
        assert (refused.status_code, refused.json()["details"][0]["reason"]) == (403, "SCOPE_MISSING")
        other = key[:-1] + ("a" if key[-1] != "a" else "b")
        unknown = program.get("/users/me", headers={"x-api-key": other})
        assert (unknown.status_code, unknown.json()["details"][0]["reason"]) == (401, "API_KEY_INVALID")

    listed = json.loads(stranger.succeed("keys", "list", "--json"))
    assert [(each["name"], "key" in each) for each in listed] == [("reader", False)]
    stranger.succeed("keys", "delete", listed[0]["api_key_id"])
    assert stranger.succeed("keys", "list") == "There is no key.\n"


def test_key_spends_no_more_than_its_limit(stranger: Person) -> None:
    email = "frugal@example.com"
    stranger.succeed("register", email)
    stranger.succeed("account", "verify", _link_in_mail(stranger, email, "Confirm your e-mail address"))
    poor = stranger.ask("keys", "create", "poor", "--credits-a-day", "0.001", "--model", "pingvas-tiny")
    rich = stranger.ask("keys", "create", "rich", "--credits-a-month", "50")
    assert "used: never  0.001 credits a day  models: pingvas-tiny\n" in stranger.succeed("keys", "list")

    with httpx.Client(base_url=f"{stranger.fleet.http}/api/v1", timeout=_PATIENCE_SECONDS) as program:
        answers = [
            program.post("/generate/text-to-image", headers={"x-api-key": str(key["key"])}, json={"prompt": "a"})
            for key in (poor, rich)
        ]
    assert answers[0].json()["details"][0]["reason"] == "API_KEY_LIMIT_EXCEEDED"
    assert answers[1].json()["state"] == "JOB_STATE_QUEUED"
    changed = stranger.succeed("keys", "limit", str(poor["api_key_id"]), "--largest-side", "512")
    assert changed == f"The key {poor['api_key_id']} has these limits now:  at most 512 px\n"


def test_account_is_closed_and_kept(stranger: Person) -> None:
    stranger.succeed("register", "fickle@example.com")
    assert stranger.succeed("account", "delete", "--yes").startswith("The account is closed. It is erased on 20")
    stranger.succeed("login", "fickle@example.com")
    refused = stranger.run("images", "list")
    assert (refused.returncode, "pingvas account keep" in refused.stderr) == (1, True)
    assert stranger.succeed("account", "keep") == "The account stays.\n"
    assert "No pictures yet" in stranger.succeed("images", "list")


def _link_in_mail(person: Person, email: str, subject: str) -> str:
    """Returns the link of the mail with a subject, waiting until it is in the mailbox."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        for mail in json.loads(person.succeed("mail", "list", "--to", email, "--json")):
            if mail["subject"] == subject:
                return str(person.ask("mail", "show", mail["name"])["link"])
    raise AssertionError(f"no mail to {email} about {subject!r}")


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
        (("generate", "--from", str(STUDIO_PICTURE)), "it has no notes at all"),
        (("jobs", "show", "not-an-id"), "job_id"),
        (("jobs", "cancel", "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"), "pingvas jobs list"),
        (("login", _EMAIL, "--password", "another password"), "pingvas register"),
        (("register", _EMAIL, "--password", "another password"), "pingvas login"),
        (("register", "nobody", "--password", "a long password"), "email"),
        (("admin", "grant", "nobody@example.com", "5"), "pingvas admin users"),
    ],
)
def test_refusal_says_what_to_do_and_exits_with_1(maya: Person, arguments: tuple[str, ...], complaint: str) -> None:
    done = maya.run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr


def test_provider_that_is_not_configured_is_refused_before_a_browser_opens(stranger: Person) -> None:
    done = stranger.run("login", "--with", "discord")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"pingvas: {stranger.fleet.grpc} doesn't offer logging in with Discord",
        "  Log in with a password: `pingvas login EMAIL`.",
    ]


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


def test_readme_leads_from_nothing_to_a_picture(fleet: Fleet, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```bash\n(API=.*?)^```", readme, re.MULTILINE | re.DOTALL)
    newcomer, email = Person(fleet, tmp_path), "reader@example.com"
    # A person waits for the mail before they read it.
    command = tmp_path / "pingvas"
    command.write_text(
        f"#!/bin/sh\nuntil {sys.executable} -m studio.cli.main mail list --to {email} | grep -q @; do :; done\n"
        f'exec {sys.executable} -m studio.cli.main "$@"\n'
    )
    command.chmod(0o755)
    shell = example.replace("http://127.0.0.1:8080", fleet.http).replace("me@example.com", email)

    done = subprocess.run(
        ["/bin/bash", "-c", shell],
        env={**newcomer.environment, "PATH": f"{tmp_path}:{newcomer.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    events = [json.loads(line.removeprefix("data: ")) for line in done.stdout.splitlines() if line.startswith("data: ")]
    picture = httpx.get(events[-1]["completed"]["images"][0]["url"], timeout=_PATIENCE_SECONDS)
    assert picture.content.startswith(b"\x89PNG")


def test_person_subscribes_on_the_providers_page_and_finds_plan_credits_and_invoice(
    fleet: Fleet, tmp_path: Path
) -> None:
    buyer = Person(fleet, tmp_path)
    assert buyer.run("register", "buyer@example.com").returncode == 0
    assert "USD 75.00 a month" in buyer.run("plans").stdout
    for command, item, credits_then in (("subscribe", "pro", "15000.000"), ("buy", "pack-1000", "16000.000")):
        page = buyer.run(command, item).stdout.splitlines()[-1]
        assert httpx.post(page).status_code == 303
        fleet.wait_for(
            lambda expected=credits_then: buyer.run("credits").stdout.startswith(f"{expected} credits available"),
            within_seconds=_PATIENCE_SECONDS,
            what=f"the credits of {item}",
        )

    assert buyer.run("subscription").stdout.startswith("plan pro, active, tier pro, renewed ")
    assert buyer.run("subscription", "cancel").stdout.startswith("plan pro, cancelled, tier pro, ends ")
    invoices = buyer.run("invoices").stdout
    assert "USD 75.00  pro, subscription, 15000.000 credits" in invoices
    assert "USD 6.00  pack-1000, pack, 1000.000 credits" in invoices
    audit = buyer.run("admin", "audit-ledger")
    assert (audit.returncode, audit.stdout) == (0, "Every credit is accounted for.\n")


def test_payment_made_while_the_service_is_down_arrives_when_it_is_back(fleet: Fleet, tmp_path: Path) -> None:
    buyer = Person(fleet, tmp_path)
    assert buyer.run("register", "patient@example.com").returncode == 0
    page = buyer.run("buy", "pack-5000").stdout.splitlines()[-1]

    fleet.kill("svc_payment", keep_down=True)
    assert httpx.post(page).status_code == 303
    fleet.start_again("svc_payment")
    # An unsigned report is refused by the service itself, to which the bridge connects anew only after a moment.
    webhook = f"{fleet.http}/api/v1/webhooks/lemon-squeezy"
    fleet.wait_for(
        lambda: httpx.post(webhook, content=b"{}").status_code == 401,
        within_seconds=_PATIENCE_SECONDS,
        what="the bridge to reach svc_payment",
    )

    def has_arrived() -> bool:
        # The provider's last try comes 125 seconds after the one before, by its own clock.
        clock = f"http://127.0.0.1:{fleet.layout.ports.payments}/control/clock"
        assert httpx.post(clock, json={"seconds": 130}).status_code == 200
        return buyer.run("credits").stdout.startswith("5000.000 credits available")

    fleet.wait_for(has_arrived, within_seconds=_PATIENCE_SECONDS, what="the credits of the pack")
    assert buyer.run("admin", "audit-ledger").returncode == 0


def test_audit_that_finds_something_exits_with_one(fleet: Fleet, tmp_path: Path) -> None:
    buyer = Person(fleet, tmp_path)
    assert buyer.run("register", "tampered@example.com").returncode == 0
    assert buyer.run("admin", "grant", "tampered@example.com", "10").returncode == 0
    change = "UPDATE payment.accounts SET available = available {} 1 WHERE available = {}"

    asyncio.run(_as_administrator(fleet, change.format("+", 10_000)))
    audit = buyer.run("admin", "audit-ledger")
    asyncio.run(_as_administrator(fleet, change.format("-", 10_001)))

    assert audit.returncode == 1
    assert "available_differs_from_journal: " in audit.stdout
    assert buyer.run("admin", "audit-ledger").returncode == 0


async def _as_administrator(fleet: Fleet, statement: str) -> None:
    connection = await asyncpg.connect(fleet.admin_database_url)
    try:
        assert await connection.execute(statement) == "UPDATE 1"
    finally:
        await connection.close()


def test_the_operator_follows_a_job_and_drains_its_worker(maya: Person) -> None:
    job_id = str(maya.ask("generate", "a drained lake", "--steps", "2")["job_id"])
    record = maya.succeed("admin", "job", job_id)
    assert re.search(r"^state +completed$", record, re.MULTILINE)
    assert re.search(r"^attempt 1 +worker-0  completed  ", record, re.MULTILINE)
    assert "a drained lake" not in record

    queue = maya.succeed("admin", "queue")
    assert [line.split()[0] for line in queue.splitlines()[1:-1]] == ["enterprise", "studio", "pro", "starter", "free"]
    assert queue.endswith("1 workers\n")

    def worker() -> str:
        return maya.succeed("admin", "workers")

    first = worker()
    assert re.match(r"worker-0  since .*  pingvas-tiny  idle, last ", first)
    pid = _pid_of_worker(maya)
    assert maya.succeed("admin", "drain", "worker-0").startswith("worker-0 takes no more jobs")
    # It ends, and is started anew by its supervisor.
    deadline = time.monotonic() + 5 * _PATIENCE_SECONDS
    while _pid_of_worker(maya) == pid or not worker().startswith("worker-0"):
        assert time.monotonic() < deadline, maya.fleet.layout.log("worker-0").read_text()[-2000:]
        time.sleep(0.5)
    assert maya.ask("generate", "a full lake", "--steps", "2")["files"]


def test_a_tier_is_paused_and_its_jobs_wait_until_it_is_resumed(stranger: Person) -> None:
    email = "patient@example.com"
    stranger.succeed("register", email)
    stranger.succeed("admin", "grant", email, "20")
    stranger.succeed("admin", "set-tier", email, "starter")
    assert stranger.succeed("admin", "pause", "starter", "--reason", "a faulty driver") == (
        "The tier starter is paused: its jobs wait.\n"
    )
    try:
        waiting = stranger.start("generate", "a patient lake", "--steps", "2")
        assert waiting.stdout is not None
        job_id = re.findall(r"Job (\S+) accepted", waiting.stdout.readline())[0]
        assert re.search(
            r"^starter +1 +0 .*paused since .* UTC: a faulty driver$", stranger.succeed("admin", "queue"), re.MULTILINE
        )
        assert stranger.succeed("admin", "requeue", job_id) == f"{job_id} waits already; nothing was changed.\n"
    finally:
        assert stranger.succeed("admin", "resume", "starter") == "The tier starter goes on.\n"
    assert stranger.succeed("admin", "resume", "starter") == "The tier starter wasn't paused.\n"
    _, complained = waiting.communicate(timeout=_PATIENCE_SECONDS)
    assert waiting.returncode == 0, complained
    refused = stranger.run("admin", "requeue", job_id)
    assert refused.returncode != 0
    assert "The job is completed" in refused.stderr
    assert f"pingvas admin job {job_id}" in refused.stderr
    log = stranger.succeed("admin", "audit", "--kind", "tier_paused")
    assert "a faulty driver" in log


def test_the_operator_is_told_of_a_worker_or_job_that_is_not_there(stranger: Person) -> None:
    refused = stranger.run("admin", "drain", "worker-7")
    assert refused.returncode != 0
    assert "No worker worker-7 was heard of lately." in refused.stderr
    assert "pingvas admin workers" in refused.stderr
    assert stranger.run("admin", "job", "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11").returncode != 0


def _pid_of_worker(person: Person) -> object:
    processes = person.ask("status")["processes"]
    return next(process["pid"] for process in processes if process["name"] == "worker-0")  # type: ignore[attr-defined]
