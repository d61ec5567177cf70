"""Says which text the platform can keep. PostgreSQL's text and jsonb hold every character of UTF-8 but U+0000.

Lone surrogates need no rule of their own: they aren't UTF-8, so that no message of protobuf carries them.
"""

from typing import Final

UNSTORABLE: Final = "\0"
"""The one character of UTF-8 that PostgreSQL refuses."""
REMEDY: Final = "may not hold the character U+0000 (NUL), which can't be stored; remove it"
"""What a caller is told, behind the name of the field."""


def is_storable(text: str) -> bool:
    """Tells whether the text can be kept."""
    return UNSTORABLE not in text
