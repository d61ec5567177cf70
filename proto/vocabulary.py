"""Writes the enums of the contract that code needs which knows no gRPC: `python proto/vocabulary.py OUT`, from generate.py.

The domain of a service, the queue and the worker's rendering may import neither protobuf nor gRPC; so tiers, operations and
error reasons are written here as Python enums, and stand in proto/ alone.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import EnumDescriptor
from google.rpc import code_pb2
from pingvas.common.v1 import error_reason_pb2, tier_pb2
from pingvas.models.v1 import model_pb2

_HEADER: Final = '''"""The contract's words for code that knows no gRPC, written from proto/ by `make gen`."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, Self


class Tier(IntEnum):
    """Names the subscription tiers in their order; the numbers are those of pingvas.common.v1.Tier."""

{tiers}

    @classmethod
    def of(cls, label: str) -> Self:
        """Returns the tier with a lower-case name; raises ValueError for any other text."""
        for tier in cls:
            if tier.label == label:
                return tier
        raise ValueError(f"{{label!r}} is none of the tiers {{', '.join(tier.label for tier in cls)}}")

    @property
    def label(self) -> str:
        """The lower-case name, as people, queues, rows and metadata of errors have it."""
        return self.name.lower()


class Operation(StrEnum):
    """Names what a job does; the values are the contract's fields, such as CreateJobRequest.text_to_image."""

{operations}

    @classmethod
    def of(cls, name: str) -> Self:
        """Returns the operation with a name; raises ValueError, which lists them, for any other text."""
        if name not in list(cls):
            raise ValueError(f"{{name!r}} is none of {{', '.join(cls)}}")
        return cls(name)


class Code(IntEnum):
    """The canonical gRPC codes, with the numbers of google.rpc.Code."""

{codes}


class Reason(StrEnum):
    """Why a call was refused or a job failed; the values of pingvas.common.v1.ErrorReason without their prefix."""

{reasons}


CODES: Final[Mapping[Reason, Code]] = MappingProxyType(
    {{
{table}
    }}
)
"""The gRPC code of each reason, which is the option `code` of its value in the contract."""
'''


def values(enum: EnumDescriptor, prefix: str) -> Iterator[tuple[str, int]]:
    """Yields names without their prefix, and numbers, but for UNSPECIFIED."""
    for value in enum.values:
        name = value.name.removeprefix(prefix)
        if name != "UNSPECIFIED":
            yield name, value.number


def codes_of_reasons() -> Iterator[tuple[str, str]]:
    """Yields each reason with the name of its code; raises SystemExit for one without."""
    option = error_reason_pb2.code
    for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values[1:]:
        if not value.GetOptions().HasExtension(option):
            sys.exit(f"{value.name} says no code: write `{value.name} = {value.number} [(code) = NOT_FOUND];`")
        yield value.name.removeprefix("ERROR_REASON_"), code_pb2.Code.Name(value.GetOptions().Extensions[option])


def vocabulary() -> str:
    """Returns the module's text, formatted as the rest of the code is."""
    reasons = dict(codes_of_reasons())
    return _HEADER.format(
        tiers="\n".join(f"    {name} = {number}" for name, number in values(tier_pb2.Tier.DESCRIPTOR, "TIER_")),
        operations="\n".join(
            f'    {name} = "{name.lower()}"' for name, _ in values(model_pb2.Operation.DESCRIPTOR, "OPERATION_")
        ),
        codes="\n".join(f"    {name} = {number}" for name, number in sorted_codes()),
        reasons="\n".join(f'    {name} = "{name}"' for name in reasons),
        table="\n".join(f"        Reason.{reason}: Code.{code}," for reason, code in reasons.items()),
    )


def sorted_codes() -> list[tuple[str, int]]:
    """Returns google.rpc.Code's names and numbers, in the order of the numbers."""
    return sorted(code_pb2.Code.items(), key=lambda item: item[1])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(vocabulary(), encoding="utf-8")
