"""Signs addresses to PUT an object whose type and size are fixed beforehand, as Signature Version 4 describes it.

The object store's own client signs the address but no headers, so that its holder could put anything of any size. With
the headers `content-type` and `content-length` among what is signed, the store itself refuses another type or size.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SERVICE: Final = "s3"
_TERMINATOR: Final = "aws4_request"
# The bytes aren't known yet, so their hash isn't part of what is signed.
_UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class UploadSigner:
    """Signs addresses of one bucket, path-style; nothing is sent for it."""

    endpoint_url: str
    region: str
    bucket: str
    access_key: str
    secret_key: str

    def presign(self, key: str, content_type: str, size_bytes: int, lifetime: timedelta, now: datetime) -> str:
        """Returns a URL that takes exactly so many bytes under that type, until the lifetime after `now` (UTC) is over."""
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self.region}/{_SERVICE}/{_TERMINATOR}"
        address = urlsplit(self.endpoint_url)
        headers = {"content-length": str(size_bytes), "content-type": content_type, "host": address.netloc}
        # In the order of their names, as the canonical form wants them.
        query = urlencode(
            {
                "X-Amz-Algorithm": _ALGORITHM,
                "X-Amz-Credential": f"{self.access_key}/{scope}",
                "X-Amz-Date": moment,
                "X-Amz-Expires": str(int(lifetime.total_seconds())),
                "X-Amz-SignedHeaders": ";".join(headers),
            },
            quote_via=quote,
            safe="",
        )
        path = quote(f"{address.path.rstrip('/')}/{self.bucket}/{key}", safe="/~")
        lines = [f"{name}:{value}\n" for name, value in headers.items()]
        canonical = "\n".join(["PUT", path, query, "".join(lines), ";".join(headers), _UNSIGNED_PAYLOAD])
        text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = _keyed(self._key(moment[:8]), text).hex()
        return f"{address.scheme}://{address.netloc}{path}?{query}&X-Amz-Signature={signature}"

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, _SERVICE, _TERMINATOR):
            key = _keyed(key, part)
        return key


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
