"""The local stack among permissions: folders that others can't enter, and files that others can't read."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio.stack.child import shim
from studio.stack.failures import StackError
from studio.stack.layout import Layout
from studio.stack.servers import postgres
from studio.stack.servers.postgres import binaries, unprivileged_identity


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that its owner alone may enter, with PostgreSQL's programs in it."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    package = binaries().parents[1]
    # The programs look for the wheel's libraries beside its package.
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), folder / name, symlinks=True)
    return folder


def test_postgresql_makes_a_cluster_where_others_cannot_enter(closed: Path) -> None:
    programs, cluster = closed / binaries().relative_to(binaries().parents[2]), closed / "draft" / "cluster"
    cluster.parent.mkdir(mode=0o700)
    identity = unprivileged_identity(cluster, programs)
    if identity:
        os.chown(cluster.parent, identity.uid, identity.gid)
    command = [str(programs / "initdb"), "-D", str(cluster), "--no-sync", "--auth=trust"]
    made = subprocess.run(shim(command, identity, signal.SIGKILL), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (cluster / "PG_VERSION").exists()


def test_root_that_cannot_lend_access_is_told_which_folder_to_open(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "_may_lend_file_access", lambda: False)
    closed.chmod(0o600)
    with pytest.raises(StackError) as refused:
        unprivileged_identity(closed / "cluster", closed)
    closed.chmod(0o700)
    assert f"chmod o+x {closed}" in refused.value.advice


def test_what_a_process_of_the_stack_writes_is_its_own(tmp_path: Path) -> None:
    file = tmp_path / "written"
    command = [sys.executable, "-c", f"import os; os.mkdir({str(tmp_path / 'made')!r}); open({str(file)!r}, 'w')"]
    subprocess.run(shim(command, None, signal.SIGKILL), check=True)
    assert (file.stat().st_mode & 0o777, (tmp_path / "made").stat().st_mode & 0o777) == (0o600, 0o700)


def test_folders_of_a_stack_are_closed_to_others_and_those_of_before_become_so(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.create()
    layout.s3.chmod(0o755)
    layout.create()
    folders = (layout.redis, layout.s3, layout.logs, layout.run, layout.models, layout.keys)
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert layout.data_dir.stat().st_mode & 0o777 == 0o711


def test_data_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o750)
    Layout(tmp_path / "data").create()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750


def test_data_folder_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="can't be used: Not a directory") as refused:
        Layout(tmp_path / "file" / "data").create()
    assert "--data-dir" in refused.value.advice
