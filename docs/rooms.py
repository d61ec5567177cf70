"""Counts the rooms of packages and the arrows between them: `python docs/rooms.py gpu_worker svc_generation`.

A room is a module or a package directly below the package. An arrow says that some module of one room imports something of
another, wherever in the code the import stands. It is upward if it closes a circle, so that its end reaches its beginning. The
floors are the rooms of the longest chain of arrows. `--root` names another checkout, so that an earlier state can be counted:

    git worktree add /tmp/before COMMIT && python docs/rooms.py gpu_worker --root /tmp/before
"""

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Arrows = Mapping[str, set[str]]
"""For each room the rooms that it imports."""


def rooms_of(package: Path) -> dict[str, list[Path]]:
    """Returns the modules of each room of a package; the package's own `__init__` belongs to none."""
    rooms: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        first = path.relative_to(package).parts[0].removesuffix(".py")
        if first != "__init__":
            rooms[first].append(path)
    return dict(rooms)


def arrows_between(package: Path, rooms: Mapping[str, list[Path]]) -> Arrows:
    """Returns which rooms each room imports."""
    return {
        room: {
            target
            for path in paths
            for name in _imported(path)
            if (target := _room_of(name, package.name)) in rooms and target != room
        }
        for room, paths in rooms.items()
    }


def reachable(arrows: Arrows, start: str) -> set[str]:
    """Returns the rooms that a room reaches by arrows."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in arrows[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def floors(arrows: Arrows) -> int | None:
    """Returns how many rooms the longest chain of arrows has; None where there are circles."""
    height: dict[str, int] = {}
    try:
        for room in TopologicalSorter(arrows).static_order():
            height[room] = 1 + max((height[target] for target in arrows[room]), default=0)
    except CycleError:
        return None
    return max(height.values(), default=0)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room_of(name: str, package: str) -> str:
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == package else ""


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description="Count the rooms of packages and the arrows between them.")
    parser.add_argument("packages", nargs="+", help="folders of packages, such as gpu_worker")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout (default: this one)")
    parser.add_argument("--list", action="store_true", help="print each room with the rooms that it imports as well")
    arguments = parser.parse_args()
    print(f"{'package':16} {'rooms':>6} {'arrows':>7} {'upward':>7} {'floors':>7}")
    for name in arguments.packages:
        package = arguments.root / name
        rooms = rooms_of(package)
        arrows = arrows_between(package, rooms)
        upward = sum(room in reachable(arrows, target) for room, targets in arrows.items() for target in targets)
        count = sum(map(len, arrows.values()))
        print(f"{name:16} {len(rooms):6} {count:7} {upward:7} {floors(arrows) or 'circle':>7}")
        if arguments.list:
            print("\n".join(f"  {room:20} -> {', '.join(sorted(targets))}" for room, targets in arrows.items()))


if __name__ == "__main__":
    main()
