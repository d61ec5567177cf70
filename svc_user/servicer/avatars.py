"""Makes the picture that stands for a user out of a file that they gave: nothing but new pixels of its own is kept."""

import io
from datetime import timedelta
from typing import Final

from PIL import Image, ImageOps

from svc_common.decoding import PictureRefusedError, decode_source
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.turns import Turns

AVATAR_SIDE_PX: Final = 128
_WEBP_QUALITY: Final = 85
_SECONDS: Final = 10.0


class AvatarMaker:
    """Decodes, crops and encodes pictures, one after the other."""

    def __init__(self) -> None:
        """Starts without work."""
        self._turns = Turns("avatars", _SECONDS)

    async def make(self, data: bytes) -> bytes:
        """Returns the middle square of a PNG, JPEG or WebP as a WebP of 128 x 128 pixels.

        Raises:
            ServiceError: INVALID_FIELD when it is no picture that can be used; OVERLOADED when its turn doesn't come in time.
        """
        try:
            async with self._turns.next() as turn:
                return await turn.run(_drawn_anew, data)
        except TimeoutError:
            raise ServiceError(
                Reason.OVERLOADED,
                "Too many pictures are being looked at; call again after the delay in RetryInfo.",
                retry_after=timedelta(seconds=_SECONDS),
            ) from None
        except PictureRefusedError as error:
            raise invalid_field("avatar", str(error)) from None


def _drawn_anew(data: bytes) -> bytes:
    side = (AVATAR_SIDE_PX, AVATAR_SIDE_PX)
    square = ImageOps.fit(Image.fromarray(decode_source(data)), side, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    square.save(encoded, "WEBP", quality=_WEBP_QUALITY)
    return encoded.getvalue()
