"""Owns the form of API keys: `pgv_<environment>_<id>_<secret><checksum>`.

All parts are letters and digits, so that a double click selects a whole key. The prefix is for secret scanners, and the
checksum tells a key from a text that looks like one, and a mistyped key from an unknown one, without a look-up.
"""

import hashlib
import re
import string
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

API_KEY_SECRET_BYTES: Final = 32
API_KEY_ID_BYTES: Final = 8
# What a deleted key may still do. Short, since its token can't be recalled; long enough to be worth a look-up.
API_KEY_TOKEN_LIFETIME: Final = timedelta(minutes=1)
API_KEY_USE_PRECISION: Final = timedelta(minutes=1)

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_DIGITS: Final = 8
# 62^43 > 2^256 and 62^6 > 2^32.
_SECRET_DIGITS: Final = 43
_CHECKSUM_DIGITS: Final = 6
_FORM: Final = re.compile(
    rf"(pgv_[a-z]{{1,10}}_([0-9A-Za-z]{{{_ID_DIGITS}}})_[0-9A-Za-z]{{{_SECRET_DIGITS}}})([0-9A-Za-z]{{{_CHECKSUM_DIGITS}}})"
)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made: what its owner gets, and what is kept of it."""

    api_key_id: str
    text: str
    key_hash: bytes


def new_api_key(environment: str, id_bytes: bytes, secret: bytes) -> NewApiKey:
    """Returns a key made of random bytes: `API_KEY_ID_BYTES` and `API_KEY_SECRET_BYTES` of them."""
    api_key_id = _base62(int.from_bytes(id_bytes, "big") % 62**_ID_DIGITS, _ID_DIGITS)
    body = f"pgv_{environment}_{api_key_id}_{_base62(int.from_bytes(secret, 'big'), _SECRET_DIGITS)}"
    text = body + _checksum(body)
    return NewApiKey(api_key_id, text, hash_api_key(text))


def id_of_api_key(text: str) -> str | None:
    """Returns the id in a key; None for a text that is no whole key."""
    found = _FORM.fullmatch(text)
    if found is None or found[3] != _checksum(found[1]):
        return None
    return found[2]


def hash_api_key(text: str) -> bytes:
    """Returns the 32 bytes under which a key is stored; 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def session_of_api_key(api_key_id: str) -> UUID:
    """Returns what stands in a key's access tokens in place of a session."""
    return uuid5(NAMESPACE_URL, f"pingvas:api-key:{api_key_id}")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_DIGITS)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
