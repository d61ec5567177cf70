"""Credits as text and as numbers: integers of millicredits inside, decimal strings at the public API. Never a float."""

import re
from typing import Final

from svc_common.errors import invalid_field

MILLICREDITS_PER_CREDIT: Final = 1000

_CREDITS: Final = re.compile(r"(-?)(\d{1,15})(?:\.(\d{1,3}))?", re.ASCII)


def parse(text: str, field: str = "amount") -> int:
    """Returns credits such as "12.345" in millicredits; raises ServiceError INVALID_FIELD, naming `field`, for other texts."""
    match = _CREDITS.fullmatch(text)
    if match is None:
        raise invalid_field(field, 'must be a decimal number of credits with at most three decimals, such as "12.345"')
    sign, whole, fraction = match.groups(default="")
    amount = int(whole) * MILLICREDITS_PER_CREDIT + int(fraction.ljust(3, "0"))
    return -amount if sign else amount


def format_credits(millicredits: int) -> str:
    """Returns an amount of millicredits in credits, always with three decimals: 12345 is "12.345"."""
    sign = "-" if millicredits < 0 else ""
    whole, fraction = divmod(abs(millicredits), MILLICREDITS_PER_CREDIT)
    return f"{sign}{whole}.{fraction:03d}"
