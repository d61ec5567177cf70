"""Owns what an export may select, where its zip lies, how long it lives, and what the files in it are called."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from enum import IntEnum
from typing import Final
from uuid import UUID

from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.object_keys import account_prefix

EXPORTS_OF_AN_ACCOUNT: Final = 10
LARGEST_EXPORT: Final = 5000
"""Pictures in one export."""
EXPORT_LIFETIME: Final = timedelta(days=1)
LEASE: Final = timedelta(minutes=2)
"""How long an attempt goes without a sign of life before another begins: far longer than one picture takes."""
MOST_ATTEMPTS: Final = 3

_STEM_CHARACTERS: Final = 60
# Separators of paths, what Windows refuses, and what can't be seen.
_UNFIT: Final = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+')
_BLANKS: Final = re.compile(r"\s+")
# Names of devices, which Windows opens in place of a file.
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])$")


class ExportState(IntEnum):
    """The states of an export, with the numbers of the contract."""

    QUEUED = 1
    RUNNING = 2
    READY = 3
    FAILED = 4


def zip_key(account_id: UUID, export_id: UUID, attempt: int) -> str:
    """Returns where an attempt puts its zip. Each has a place of its own, so that a late one overwrites nothing."""
    return f"{account_prefix(account_id)}/exports/{export_id}/{attempt}.zip"


def zip_keys(account_id: UUID, export_id: UUID, attempt: int) -> list[str]:
    """Returns where the attempts up to one may have put something."""
    return [zip_key(account_id, export_id, each) for each in range(1, attempt + 1)]


def check_export_room(export_count: int) -> None:
    """Refuses one export more than an account may have.

    Raises:
        ServiceError: TOO_MANY_EXPORTS.
    """
    if export_count >= EXPORTS_OF_AN_ACCOUNT:
        raise ServiceError(
            Reason.TOO_MANY_EXPORTS,
            f"Your account has {EXPORTS_OF_AN_ACCOUNT} exports that haven't expired. Delete one.",
            metadata={"limit": str(EXPORTS_OF_AN_ACCOUNT)},
        )


def check_selection(image_count: int) -> None:
    """Refuses an export of nothing, and one of too much.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    if not image_count:
        raise invalid_field("selection", "selects no picture")
    if image_count > LARGEST_EXPORT:
        raise invalid_field("selection", f"selects more than {LARGEST_EXPORT} pictures; narrow it, by time for example")


def export_not_found(export_id: UUID) -> ServiceError:
    """Returns the answer for an export that isn't there, isn't the caller's, or has expired."""
    return ServiceError(
        Reason.EXPORT_NOT_FOUND,
        f"There is no export {export_id} in your account; ListImageExports shows what there is.",
        metadata={"export_id": str(export_id)},
    )


class FileNames:
    """Gives each picture of an export a name that no other has, on any file system."""

    def __init__(self) -> None:
        """Starts without names."""
        self._taken: set[str] = set()

    def stem_for(self, text: str, seed: int) -> str:
        """Returns a name, without its ending, of a title or a prompt and a seed."""
        stem = f"{_fit(text)}-{seed}"
        for candidate in _numbered(stem):
            # As file systems compare that know no case.
            folded = candidate.casefold()
            if folded not in self._taken:
                self._taken.add(folded)
                return candidate
        raise AssertionError("unreachable: numbers don't end")


def _fit(text: str) -> str:
    words = _BLANKS.sub(" ", _UNFIT.sub(" ", unicodedata.normalize("NFC", text)))
    # Neither hidden, nor an option of a command, nor with an end that Windows drops.
    fit = words.strip(" .-~")[:_STEM_CHARACTERS].rstrip(" .-")
    return "picture" if not fit or _DEVICES.match(fit) else fit


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem} ({number})"
        number += 1
