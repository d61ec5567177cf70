"""Reads JSON that strangers wrote: no deeper than it needs to be, and nothing that only Python calls a number."""

import json
import re
from typing import Any, Final

from svc_generation.domain.recipes.findings import recipe_invalid

MOST_LEVELS: Final = 64
"""Graphs with graphs in them have some ten."""
# An unfinished string reaches to the end: so each character is looked at once.
_STRUCTURE: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def object_in(text: str, what: str) -> dict[str, Any]:
    """Returns the JSON object that a note is; `what` names the note in refusals.

    Raises:
        ServiceError: RECIPE_INVALID with the cause "json" or "depth".
    """
    value = value_in(text, what)
    if not isinstance(value, dict):
        raise recipe_invalid("json", f"its {what} isn't a JSON object")
    return value


def value_in(text: str, what: str) -> Any:
    """Returns the JSON value that a note is; NaN and infinities, which ComfyUI writes, are None.

    Raises:
        ServiceError: RECIPE_INVALID with the cause "json" or "depth".
    """
    level = 0
    for part in _STRUCTURE.finditer(text):
        if part[0] in "[{":
            level += 1
            if level > MOST_LEVELS:
                raise recipe_invalid("depth", f"its {what} has more than {MOST_LEVELS} levels")
        elif part[0] in "]}":
            level -= 1
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        raise recipe_invalid("json", f"its {what} isn't valid JSON") from None
