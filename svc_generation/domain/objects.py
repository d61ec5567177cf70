"""Which objects an attempt stores for a picture, and how long the addresses of objects work."""

from datetime import timedelta
from typing import Final

from svc_common.object_keys import METADATA, ORIGINAL, THUMBNAIL

OBJECT_NAMES: Final = (ORIGINAL, THUMBNAIL, METADATA)

ADDRESS_LIFETIME: Final = timedelta(minutes=5)
"""How long a presigned address of a picture works: long enough to fetch it, too short to pass it on."""
UPLOAD_LIFETIME: Final = timedelta(hours=1)
"""How long a worker may upload to an attempt's slots: longer than any attempt takes."""
SOURCE_LIFETIME: Final = timedelta(hours=1)
"""How long a worker may fetch what a job works on: it does so at once, but a model may have to be fetched before."""
