"""The defaults of operations that depend on no model."""

from types import MappingProxyType
from typing import Final

from pingvas.vocabulary import Operation as OperationKind

DEFAULT_STRENGTHS: Final = MappingProxyType({OperationKind.IMAGE_TO_IMAGE: 0.6, OperationKind.INPAINT: 0.9})
"""Share of the steps that run on a source. An inpainting changes only what the mask frees, so it may go further."""
DEFAULT_FEATHER_PX: Final = 8
DEFAULT_SCALE_FACTOR: Final = 2
DEFAULT_LORA_WEIGHT: Final = 1.0
