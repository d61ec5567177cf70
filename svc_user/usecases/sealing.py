"""Seals the secrets that svc_user must be able to read again, so that a copy of the database opens nothing."""

import hashlib
import os
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class Seal:
    """Encrypts and authenticates small secrets with AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        """Takes a key of 32 bytes that all replicas share."""
        self._cipher = AESGCM(key)

    @classmethod
    def derived_from(cls, secret: bytes) -> Self:
        """Returns a seal with a key of its own, derived from a secret that the service has for another purpose."""
        return cls(hashlib.sha256(b"pingvas sealed secrets\0" + secret).digest())

    def close(self, secret: bytes, owner: bytes) -> bytes:
        """Returns a secret sealed for its owner: a row that is copied to another owner can't be opened there."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """Returns what was sealed for an owner; raises ValueError when it was sealed with another key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner)
        except InvalidTag:
            raise ValueError(
                "a secret was sealed with another key: the file that the seal is made of was replaced"
            ) from None
