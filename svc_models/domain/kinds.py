"""Owns what a model may be and what it may do, under the names that manifests and rows have."""

import enum
from typing import Self


class _Named(enum.IntEnum):
    """Gives its members lower-case names; the numbers are those of the contract's enums."""

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


class ModelKind(_Named):
    """Names what a model of the catalogue is."""

    CHECKPOINT = 1
    LORA = 2


class Operation(_Named):
    """Names an operation that a model may have."""

    TEXT_TO_IMAGE = 1
    IMAGE_TO_IMAGE = 2
    INPAINT = 3
    UPSCALE = 4
