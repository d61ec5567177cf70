"""Where Unix sockets of a stack are, and that only their owner gets there."""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.stack.failures import StackError
from studio.stack.layout import Layout
from studio.stack.sockets import ensure_private_folder, socket_path


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files; shorter than `tmp_path`, since sockets are bound there."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


@pytest.mark.parametrize("length", [90, 91, 107, 108, 300])
def test_socket_can_be_bound_wherever_the_data_folder_is(length: int, temporary: Path) -> None:
    folder = temporary / "x"
    name = "envoy-admin.sock"
    while len(os.fsencode(folder / name)) < length:
        folder = folder / ("d" * min(50, max(1, length - len(os.fsencode(folder / name)) - 1)))
    folder.mkdir(parents=True)
    path = socket_path(folder, name)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fsencode(path))
    assert path == socket_path(folder, name)


def test_different_folders_have_different_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    assert socket_path(deep / "one", "a.sock") != socket_path(deep / "two", "a.sock")


def test_layout_makes_the_folder_of_its_socket_private(temporary: Path) -> None:
    for data_dir in (temporary / "short", temporary / ("d" * 100)):
        layout = Layout(data_dir)
        layout.create()
        layout.create()
        assert stat.S_IMODE(layout.edge_admin.parent.stat().st_mode) == 0o700


def test_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for name in ("open", "elsewhere"):
        with pytest.raises(StackError, match="belongs to you alone"):
            ensure_private_folder(tmp_path / name)
