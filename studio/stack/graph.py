"""The declared order of a stack: every dependency is declared, and none leads back to itself."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from studio.stack.process import Node, Process


def by_name(nodes: Iterable[Node]) -> Mapping[str, Node]:
    """Returns the nodes by name, or raises ValueError for a name used twice, an unknown dependency or a circle."""
    listed = list(nodes)
    named = {node.name: node for node in listed}
    if len(named) != len(listed):
        raise ValueError(f"a name is used twice among {[node.name for node in listed]}")
    for node in listed:
        unknown = [name for name in _before(node) if name not in named]
        if unknown:
            raise ValueError(f"{node.name} depends on {unknown}, which nobody declared")
    try:
        TopologicalSorter({node.name: _before(node) for node in listed}).prepare()
    except CycleError as error:
        raise ValueError(f"the dependencies form a circle: {error.args[1]}") from error
    return named


def dependents(nodes: Mapping[str, Node], name: str) -> tuple[str, ...]:
    """Returns the names of those that must be gone before a node stops."""
    return tuple(node.name for node in nodes.values() if name in _before(node))


def _before(node: Node) -> tuple[str, ...]:
    """Returns the names of those that stop after a node."""
    return (*node.depends_on, *node.outlived_by) if isinstance(node, Process) else node.depends_on
