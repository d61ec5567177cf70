"""The pictures that a job begins with."""

from dataclasses import dataclass
from typing import Final

from gpu_worker.render.interface import Mask, Pixels


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures that a job begins with, and the hashes by which its recipe names them."""

    source: Pixels | None = None
    mask: Mask | None = None
    source_sha256: str = ""
    """Of the bytes as they were given, lower-case hexadecimal; empty when there is none."""
    mask_sha256: str = ""


NO_INPUTS: Final = Inputs()
