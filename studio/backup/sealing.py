"""Encrypts what a backup writes, in the format of age (https://age-encryption.org/v1), which its own tools open as well.

A repository is sealed for its recipients' public keys, so whoever takes backups every night holds nothing that could
read them. The one private key that the repository has of its own is kept beside it, under a passphrase.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyrage
from pyrage import passphrase, x25519

from studio.stack.failures import StackError


class Source(Protocol):
    """A stream to read."""

    def read(self, size: int = -1, /) -> bytes:
        """Returns up to that many bytes; none at the end."""


class Target(Protocol):
    """A stream to write."""

    def write(self, content: bytes, /) -> int | None:
        """Takes bytes."""

    def flush(self) -> None:
        """Passes on what was taken."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Encrypts for the recipients; each is an age public key (`age1...`)."""

    recipients: tuple[str, ...]

    @classmethod
    def for_recipients(cls, recipients: Sequence[str]) -> "Sealer":
        """Returns it; raises StackError when one is no age public key."""
        for recipient in recipients:
            try:
                x25519.Recipient.from_str(recipient)
            except pyrage.RecipientError as error:
                raise StackError(
                    f"{recipient} is no public key of age", advice="Give the line that age-keygen prints: age1..."
                ) from error
        return cls(tuple(recipients))

    def seal(self, plain: Source, sealed: Target) -> None:
        """Encrypts a stream into another, in pieces of 64 KiB."""
        keys = [x25519.Recipient.from_str(recipient) for recipient in self.recipients]
        pyrage.encrypt_io(plain, sealed, keys)


@dataclass(frozen=True, slots=True)
class Opener:
    """Decrypts what was sealed for a private key."""

    identity: str

    def open(self, sealed: Source, plain: Target) -> None:
        """Decrypts a stream into another; raises StackError for another key's, and for one that was changed or cut short."""
        source, target = _Noting(sealed), _Noting(plain)
        try:
            pyrage.decrypt_io(source, target, [x25519.Identity.from_str(self.identity)])
        except (pyrage.DecryptError, OSError) as error:
            if (own := source.failure or target.failure) is not None:
                raise own from None
            raise StackError(
                f"a file of the backup can't be decrypted: {error}",
                advice="Name the private key that the backup was made for, or restore another backup.",
            ) from error


class _Noting:
    """A stream that remembers how reading or writing failed: the library turns every failure into an OSError of its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        return bytes(self._noted(self._stream.read, size))

    def write(self, content: bytes) -> int:
        self._noted(self._stream.write, content)
        return len(content)

    def flush(self) -> None:
        self._noted(self._stream.flush)

    def _noted(self, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            self.failure = error
            raise


def new_identity() -> tuple[str, str]:
    """Makes a pair of keys; returns the private and the public one."""
    made = x25519.Identity.generate()
    return str(made), str(made.to_public())


def locked(identity: str, secret: str) -> bytes:
    """Returns a private key encrypted with a passphrase."""
    return bytes(passphrase.encrypt(identity.encode(), secret))


def unlocked(content: bytes, secret: str) -> str:
    """Returns the private key; raises StackError when the passphrase is another."""
    try:
        return bytes(passphrase.decrypt(content, secret)).decode()
    except pyrage.DecryptError as error:
        raise StackError(
            "the passphrase is not that of the backup", advice="Give the one that its first backup was made with."
        ) from error


def read_identity(text: str) -> str:
    """Returns the private key of a file as age-keygen writes it; raises StackError when there is none."""
    line = next((line.strip() for line in text.splitlines() if line and not line.startswith("#")), "")
    try:
        x25519.Identity.from_str(line)
    except pyrage.IdentityError as error:
        raise StackError(
            "the file holds no private key of age", advice="Give the file that age-keygen wrote: AGE-SECRET-KEY-1..."
        ) from error
    return line
