"""Values of fields in requests of other products' APIs: in JSON, or in a form, in which every value is text."""

import re
from collections.abc import Mapping
from typing import Any, Final

from svc_common.errors import invalid_field

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1


def text(fields: Mapping[str, Any], name: str) -> str:
    """Returns a text; an absent one is empty.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_field(name, "must be a text")
    return value


def choice(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """Returns one of the choices; the first is the default.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    value = text(fields, name) or choices[0]
    if value not in choices:
        raise invalid_field(name, f"must be {' or '.join(choices)}")
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """Returns whether something is wanted; absent, it isn't.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    value = fields.get(name)
    if value in (None, False, "false", "False", ""):
        return False
    if value in (True, "true", "True"):
        return True
    raise invalid_field(name, "must be true or false")


def integer(fields: Mapping[str, Any], name: str, most: int) -> int | None:
    """Returns a whole number between `-most` and `most`, or None.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    refusal = invalid_field(name, f"must be a whole number of at most {most}")
    is_whole = isinstance(value, float) and value.is_integer()
    if is_whole or (isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > most:
        raise refusal
    return value


def number(fields: Mapping[str, Any], name: str) -> float | None:
    """Returns a number, or None.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid_field(name, "must be a number")
        return float(value)
    except (ValueError, OverflowError) as error:
        raise invalid_field(name, "must be a number") from error
