"""Reads Compose files as Docker does: variables filled in, anchors resolved, the second file laid over the first."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
_VARIABLE: Final = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<word>[^}]*))?\}")


class _Override(dict[str, Any]):
    """A value that takes the place of the first file's."""


class _Loader(yaml.SafeLoader):
    """YAML with Compose's own tag."""


def _override(loader: yaml.SafeLoader, node: yaml.Node) -> _Override:
    assert isinstance(node, yaml.SequenceNode)
    return _Override(value=loader.construct_sequence(node, deep=True))


_Loader.add_constructor("!override", _override)


class MissingVariableError(Exception):
    """Means that a file wants a variable that has no value; tells it in the file's own words."""


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """Returns the text with its variables; raises MissingVariableError for one that must be set and isn't."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        given = variables.get(match["name"], "")
        if not given and match["kind"] == ":?":
            raise MissingVariableError(f"{match['name']}: {match['word']}")
        return given or (match["word"] or "" if match["kind"] == ":-" else "")

    return _VARIABLE.sub(value, text)


def load(names: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
    """Returns the services and volumes of the files together."""
    loaded: dict[str, Any] = {}
    for name in names:
        text = filled_in((ROOT / name).read_text(encoding="utf-8"), variables)
        loaded = _laid_over(loaded, yaml.load(text, _Loader))  # noqa: S506 - a safe loader with one tag more
    return loaded


def _laid_over(lower: Any, upper: Any) -> Any:
    if isinstance(upper, _Override):
        return upper["value"]
    if isinstance(lower, dict) and isinstance(upper, dict):
        return {**lower, **{key: _laid_over(lower.get(key), value) for key, value in upper.items()}}
    if isinstance(lower, list) and isinstance(upper, list):
        return [*lower, *upper]
    return upper


def example_variables() -> dict[str, str]:
    """Returns .env.example as it is."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
