"""Owns who is one person for the credits that the free tier gives once.

Large mail hosts hand one mailbox any number of spellings: dots that don't count, tags behind a plus sign, other names of
the same host. They are folded here and nowhere else: an account's address stays as its owner wrote it.
"""

import hashlib
from types import MappingProxyType
from typing import Final

# The name under which a host's mailboxes are counted, and the characters before the @ that it leaves out of account.
# Names of one host that are mailboxes of their own stand apart. Tags behind a plus sign are known to all of these.
_HOSTS: Final = MappingProxyType(
    {
        "gmail.com": ("gmail.com", "."),
        "googlemail.com": ("gmail.com", "."),
        "outlook.com": ("outlook.com", ""),
        "hotmail.com": ("hotmail.com", ""),
        "live.com": ("live.com", ""),
        "icloud.com": ("icloud.com", ""),
        "me.com": ("icloud.com", ""),
        "mac.com": ("icloud.com", ""),
        "proton.me": ("proton.me", ".-_"),
        "protonmail.com": ("proton.me", ".-_"),
        "pm.me": ("proton.me", ".-_"),
        "fastmail.com": ("fastmail.com", ""),
    }
)


def person_hash(email: str) -> bytes:
    """Returns 32 bytes that are the same for all spellings of a normalised address that reach one mailbox.

    A hash, because it outlives the account.
    """
    return hashlib.sha256(_fold(email).encode()).digest()


def _fold(email: str) -> str:
    local, _, name = email.rpartition("@")
    if name not in _HOSTS:
        return email
    host, ignored = _HOSTS[name]
    untagged = local.partition("+")[0]
    return "".join(character for character in untagged if character not in ignored) + "@" + host
