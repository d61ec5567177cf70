"""Owns the rules of second factors: what a code may be, recovery codes, and whose role counts only with a factor."""

import base64
import hashlib
from datetime import timedelta
from typing import Final
from uuid import UUID

from svc_common.account_roles import AccountRole
from svc_common.errors import Reason, ServiceError

TOTP_SECRET_BYTES: Final = 20
"""The size of the hash that codes are made with (RFC 4226, 4, R6)."""
STEP_SECONDS: Final = 30
DRIFT_STEPS: Final = 1
"""How many steps before and after the present one are taken: clocks of phones, and people who type slowly (RFC 6238, 5.2)."""
RECOVERY_CODE_COUNT: Final = 10
RECOVERY_CODE_BYTES: Final = 10
CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
ISSUER: Final = "Pingvas Studio"

_GROUP: Final = 4


def format_secret(random_bytes: bytes) -> str:
    """Returns a secret as authenticator apps take it: base32."""
    return base64.b32encode(random_bytes).decode("ascii")


def format_recovery_code(random_bytes: bytes) -> str:
    """Returns a recovery code of `RECOVERY_CODE_BYTES` random bytes, in groups that can be read aloud."""
    text = base64.b32encode(random_bytes).decode("ascii").lower()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def hash_recovery_code(user_id: UUID, code: str) -> bytes:
    """Returns the 32 bytes under which a recovery code is stored, however it was typed.

    A plain SHA-256 is enough for 80 random bits; the user's id keeps one table of hashes from serving for all users.
    """
    plain = "".join(character for character in code.lower() if character.isalnum())
    return hashlib.sha256(user_id.bytes + plain.encode()).digest()


def is_app_code(code: str) -> bool:
    """Tells whether a code looks like one of an app, and not like a recovery code."""
    digits = code.replace(" ", "")
    return len(digits) == 6 and digits.isascii() and digits.isdigit()  # noqa: PLR2004 - what apps show


def granted_role(role: AccountRole, *, is_required: bool, has_factor: bool) -> tuple[AccountRole, AccountRole | None]:
    """Returns the role that counts, and the one that is withheld until there is a second factor."""
    if role is AccountRole.ADMINISTRATOR and is_required and not has_factor:
        return AccountRole.USER, role
    return role, None


def failed(cause: str) -> ServiceError:
    """Returns the refusal of a code or challenge; the causes are those of the contract."""
    return ServiceError(Reason.SECOND_FACTOR_FAILED, _MESSAGES[cause], metadata={"cause": cause})


_MESSAGES: Final = {
    "code": "The code is wrong or was used before. Wait for the next one of your app, or use a recovery code.",
    "challenge": "Too much time has passed since the first step. Sign in again.",
    "off": "There is no second factor. Begin setting one up first.",
    "on": "There is a second factor already. Turn it off first.",
}
