"""Rooms and arrows are counted as docs/architecture.md says that they are."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "docs/rooms.py"


def counted(root: Path, files: dict[str, str]) -> list[str]:
    """Returns the figures of a package of these modules."""
    for name, text in files.items():
        path = root / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = [sys.executable, SCRIPT, "house", "--root", str(root)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[1].split()


def test_folder_is_one_room_and_two_imports_between_rooms_are_one_arrow(tmp_path: Path) -> None:
    files = {
        "__init__.py": "import house.main",
        "main.py": "from house.room import one\nfrom house.room.two import name\nimport json",
        "room/__init__.py": "",
        "room/one.py": "def late():\n    from house import ground\n",
        "room/two.py": "from house.room import one",
        "ground.py": "",
    }
    assert counted(tmp_path, files) == ["house", "3", "2", "0", "3"]


def test_arrows_that_close_a_circle_are_upward(tmp_path: Path) -> None:
    files = {"a.py": "import house.b", "b.py": "import house.c", "c.py": "import house.b", "d.py": ""}
    assert counted(tmp_path, files) == ["house", "4", "3", "2", "circle"]
