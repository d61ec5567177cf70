"""The operations that a job may be, and the defaults of theirs that depend on no model."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class OperationKind(StrEnum):
    """Names what a job does; the values are the names of the contract's branches."""

    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    INPAINT = "inpaint"
    UPSCALE = "upscale"


DEFAULT_STRENGTHS: Final = MappingProxyType({OperationKind.IMAGE_TO_IMAGE: 0.6, OperationKind.INPAINT: 0.9})
"""Share of the steps that run on a source. An inpainting changes only what the mask frees, so it may go further."""
DEFAULT_FEATHER_PX: Final = 8
DEFAULT_SCALE_FACTOR: Final = 2
DEFAULT_LORA_WEIGHT: Final = 1.0
