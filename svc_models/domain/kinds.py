"""Owns what a model may be, under the names that manifests and rows have. What it may do are the contract's operations."""

import enum
from typing import Self


class ModelKind(enum.IntEnum):
    """Names what a model of the catalogue is; the numbers are those of the contract's enum."""

    CHECKPOINT = 1
    LORA = 2

    @classmethod
    def of(cls, name: str) -> Self:
        """Returns the member with a lower-case name; raises ValueError for any other text."""
        for member in cls:
            if member.label == name:
                return member
        raise ValueError(f"{name!r} is none of {', '.join(member.label for member in cls)}")

    @property
    def label(self) -> str:
        """The lower-case name."""
        return self.name.lower()
