"""A deployment is backed up while people use it, destroyed, and restored somewhere else, where everything must hold."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest
from pingvas.gallery.v1 import gallery_service_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import CALL_SECONDS, FleetPlan, Person, Stage, running_stage, until

PATIENCE_SECONDS = 240.0
PLAN = FleetPlan()
PASSPHRASE = "four words of a passphrase"


def pingvas(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studio.cli.main", "admin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def succeed(*arguments: str) -> str:
    done = pingvas(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pictures(stage: Stage, account: Person) -> Mapping[str, bytes]:
    """Returns the objects of somebody's account, as they lie in the bucket."""
    return {key: file.read_bytes() for key, file in stage.objects().items() if str(account.account_id) in key}


@contextmanager
def drawing(person: Person) -> Iterator[list[str]]:
    """Submits five jobs a second, and no more than can be drawn, while the block runs; yields what was acknowledged."""
    acknowledged: list[str] = []
    over = threading.Event()

    def submit() -> None:
        while not over.wait(0.2):
            acknowledged.append(person.create("a picture drawn during the backup").job_id)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def passphrase_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return file


@pytest.mark.timeout(900)  # two stacks, one after the other, and four commands
def test_backup_under_load_is_restored_after_everything_was_lost(tmp_path: Path, passphrase_file: Path) -> None:
    place, secret = tmp_path / "backups", ("--passphrase-file", str(passphrase_file))
    with running_stage(tmp_path / "before", PLAN) as stage:
        data = str(stage.fleet.layout.data_dir)
        painter, other = stage.person(), stage.person("studio")
        done = [painter.end_of(painter.create(f"picture {number}").job_id) for number in range(3)]
        starred = gallery_service_pb2.StarImageRequest(image_id=done[0].images[0].image_id)
        painter.gallery.StarImage(starred, timeout=CALL_SECONDS, metadata=painter.metadata)
        balance, drawn = painter.balance(), pictures(stage, painter)
        with drawing(other) as acknowledged:
            until(lambda: len(acknowledged) >= 3, "jobs beside the backup")
            before = list(acknowledged)
            succeed("backup", str(place), *secret, "--data-dir", data)
        said = succeed("backup", str(place), "--data-dir", data)
    assert "objects:" in said
    stored = [file for file in (place / "objects").rglob("*") if file.is_file()]
    # Each object once, though both backups hold it; nothing of it can be read without the key.
    assert len({file.parent for file in stored}) == len(stored)
    assert not any(content in file.read_bytes() for file in stored for content in drawn.values())
    assert len(succeed("backups", str(place)).splitlines()) == 3
    first = min(folder.name for folder in (place / "snapshots").iterdir())
    shutil.rmtree(tmp_path / "before")

    restored = tmp_path / "after" / "data"
    moment = f"{first[:4]}-{first[4:6]}-{first[6:8]}T{first[9:11]}:{first[11:13]}:{first[13:15]}Z"
    told = succeed("restore", str(place), *secret, "--at", moment, "--data-dir", str(restored))
    assert "Restored the backup of" in told
    assert "which backups don't hold: pingvas-tiny" in told
    again = pingvas("restore", str(place), *secret, "--data-dir", str(restored))
    assert (again.returncode != 0, "holds a stack" in again.stderr) == (True, True)

    with running_stage(tmp_path / "after", PLAN) as stage:
        painter = Person(stage, painter.email, painter.account_id)
        other = Person(stage, other.email, other.account_id)
        assert painter.balance() == balance
        assert pictures(stage, painter) == drawn
        listed = painter.gallery.ListImages(
            gallery_service_pb2.ListImagesRequest(), timeout=CALL_SECONDS, metadata=painter.metadata
        )
        assert [image.image_id for image in listed.images if image.starred] == [done[0].images[0].image_id]
        # What had been acknowledged before the backup began reaches its end, and new work is taken.
        for job_id in (*before, painter.create("a picture after it all").job_id):
            (painter if job_id not in before else other).end_of(job_id, within_seconds=PATIENCE_SECONDS)
        assert_invariants(stage)
        assert not stage.audit()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("stage"), FleetPlan(workers=0)) as running:
        yield running


def test_backup_for_a_public_key_is_opened_by_its_private_key_alone(
    stage: Stage, tmp_path: Path, passphrase_file: Path
) -> None:
    identity, strangers = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    for name, key in (("key", identity), ("strange", strangers)):
        (tmp_path / name).write_text(f"# made for a test\n{key}\n")
    place, data = str(tmp_path / "backups"), str(stage.fleet.layout.data_dir)
    succeed("backup", place, "--recipient", str(identity.to_public()), "--data-dir", data)

    for options, words in (
        (("--identity", str(tmp_path / "strange")), "can't be decrypted"),
        (("--passphrase-file", str(passphrase_file)), "sealed for a key that it doesn't hold"),
    ):
        refused = pingvas("restore", place, *options, "--data-dir", str(tmp_path / "restored"))
        assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr
    succeed("restore", place, "--identity", str(tmp_path / "key"), "--data-dir", str(tmp_path / "restored"))
    assert (
        tmp_path / "restored/keys/user-signing.pem"
    ).read_bytes() == stage.fleet.secrets.user_signing_key.read_bytes()
    assert (tmp_path / "restored/keys/user-signing.pem").stat().st_mode & 0o077 == 0


@pytest.mark.timeout(900)
def test_backup_that_was_cut_short_or_changed_or_is_locked_is_not_restored(
    stage: Stage, tmp_path: Path, passphrase_file: Path
) -> None:
    place, data = tmp_path / "backups", str(stage.fleet.layout.data_dir)
    secret = ("--passphrase-file", str(passphrase_file))
    succeed("backup", str(place), *secret, "--data-dir", data)
    (snapshot,) = (place / "snapshots").iterdir()
    dump = snapshot / "database.dump.age"
    whole = dump.read_bytes()

    for content in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
        dump.write_bytes(content)
        refused = pingvas("restore", str(place), *secret, "--data-dir", str(tmp_path / "restored"))
        assert (refused.returncode, "can't be decrypted" in refused.stderr) == (1, True), refused.stderr
        shutil.rmtree(tmp_path / "restored")
    other = tmp_path / "other"
    other.write_text("another passphrase altogether")
    refused = pingvas("restore", str(place), "--passphrase-file", str(other), "--data-dir", str(tmp_path / "restored"))
    assert "not that of the backup" in refused.stderr
    assert not (tmp_path / "restored").exists()
    (snapshot / "complete.json").unlink()
    refused = pingvas("restore", str(place), *secret, "--data-dir", str(tmp_path / "restored"))
    assert "holds no complete backup" in refused.stderr


def test_backup_says_what_it_lacks(stage: Stage, tmp_path: Path) -> None:
    data = str(stage.fleet.layout.data_dir)
    short = tmp_path / "short"
    short.write_text("short")
    for options, words in (
        (("--passphrase-file", str(short)), "passphrase is too short"),
        (("--recipient", "age1nobody"), "no public key of age"),
    ):
        refused = pingvas("backup", str(tmp_path / "backups"), *options, "--data-dir", data)
        assert words in refused.stderr
    file = tmp_path / "a file"
    file.write_text("")
    assert "can't hold backups" in pingvas("backup", str(file), "--recipient", "age1", "--data-dir", data).stderr
    nobody = pingvas("backup", str(tmp_path / "backups"), "--data-dir", str(tmp_path / "empty"))
    assert "no stack runs" in nobody.stderr
    assert not (tmp_path / "backups/repository.json").exists()
