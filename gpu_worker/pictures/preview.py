"""Previews as they travel: small JPEGs that fit into a progress event.

Runs in the encoding threads. Leaves making RGB out of latents to `families.latent_rgb`, in the pipeline's thread.
"""

import io

from PIL import Image

from gpu_worker.render.interface import Pixels

MAX_BYTES = 4096
"""A preview goes to every watcher of a job five times a second: with 4 KB, a thousand watchers take 20 MB/s at most."""
MAX_SIDE_PX = 128
_QUALITIES = (75, 60, 45, 30)


def preview_jpeg(pixels: Pixels) -> bytes:
    """Returns an RGB picture as a JPEG of at most MAX_BYTES, with its longest side at most MAX_SIDE_PX.

    Gives up quality first and size last: a coarse picture still shows what is coming, a tiny one does not.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BILINEAR)
    while True:
        for quality in _QUALITIES:
            data = _jpeg(image, quality)
            if len(data) <= MAX_BYTES:
                return data
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
