"""Colours as browsers show them: a picture with a colour profile becomes sRGB."""

import io
from functools import cache
from typing import Final, cast

import numpy as np
from PIL import Image, ImageCms

_COLOURS: Final = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The mode that a profile of each colour space describes."""
_PROBE_SIDE: Final = 17
_INVISIBLE: Final = 1
"""A transform that changes no colour by more than this is rounding: the profile is sRGB by whatever name."""


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_srgb(colours: Image.Image, profile: bytes) -> Image.Image:
    """Returns a picture without alpha (RGB, L or CMYK) in sRGB; as it is when the profile is broken or another's.

    Relative colorimetric with black point compensation, which keeps every colour that both spaces have.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = _COLOURS.get(source.profile.xcolor_space)
        if space != colours.mode:
            return colours
        transform = ImageCms.buildTransform(
            source,
            _srgb(),
            space,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if space != "CMYK" and _changes_nothing(transform, space):
            return colours
        converted = ImageCms.applyTransform(colours, transform)
    # A profile that can't be followed is left aside, as browsers do: the picture isn't at fault.
    except (ImageCms.PyCMSError, OSError, ValueError):
        return colours
    return colours if converted is None else converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tries a transform on colours from all over the space: much cheaper than converting a picture for nothing."""
    steps = np.linspace(0, 255, _PROBE_SIDE).astype(np.uint8)
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        wanted = np.stack([probe] * 3, axis=-1)
    else:
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        wanted = probe
    got = np.asarray(cast("Image.Image", ImageCms.applyTransform(Image.fromarray(probe), transform)))
    return int(np.abs(got.astype(np.int16) - wanted).max()) <= _INVISIBLE
