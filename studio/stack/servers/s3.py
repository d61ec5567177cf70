"""The S3 server: rclone over a folder, in which each bucket is a folder and each object a file."""

import datetime as dt
import hashlib
import hmac
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import HTTP_OK, NotHealthyError, http_status, with_room
from studio.stack.process import Listener, Process
from svc_common.free_space import USUAL_MARKS, FolderGauge, WaterMarks

NAME = "s3"
REGION = "us-east-1"
_ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def url_of(layout: Layout) -> str:
    """Returns the address of a stack's own server."""
    return f"http://{HOST}:{layout.ports.s3}"


# Objects that are put side by side into a new folder can leave rclone's cache of it with a name that isn't there. By default
# it believes that for five minutes, and answers 500 to whoever reads the object.
_OPTIONS = ("--dir-cache-time", "1s")


@dataclass(frozen=True, slots=True)
class S3Server:
    """The S3 server of one stack."""

    layout: Layout
    secrets: Secrets
    buckets: tuple[str, ...]
    marks: WaterMarks = USUAL_MARKS

    def node(self) -> Process:
        """Makes the buckets and returns the server."""
        for bucket in self.buckets:
            (self.layout.s3 / bucket).mkdir(exist_ok=True)
        port = self.layout.ports.s3
        return Process(
            name=NAME,
            command=(_program(), "serve", "s3", *_OPTIONS, "--addr", f"{HOST}:{port}", str(self.layout.s3)),
            probe=with_room(self._lists_a_bucket, FolderGauge(self.layout.s3, self.marks)),
            address=f"{HOST}:{port}",
            log=self.layout.log(NAME),
            environment={
                # In the environment, not in the arguments, which every user of the machine can read.
                "RCLONE_AUTH_KEY": f'"{self.secrets.s3_access_key},{self.secrets.s3_secret_key}"',
                # The person's own rclone configuration has no say here.
                "RCLONE_CONFIG": "/dev/null",
            },
            listeners=(Listener(port, "objects"),),
        )

    async def _lists_a_bucket(self) -> None:
        path = f"/{self.buckets[0]}"
        headers = _signed_headers(self.secrets, f"{HOST}:{self.layout.ports.s3}", path, dt.datetime.now(dt.UTC))
        status = await http_status(self.layout.ports.s3, path, headers)
        if status != HTTP_OK:
            raise NotHealthyError(f"listing the bucket answered {status}")


def _signed_headers(secrets: Secrets, host: str, path: str, now: dt.datetime) -> dict[str, str]:
    """Returns the headers of a GET without a query, signed by AWS Signature Version 4, in its own terms."""
    timestamp, date = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": timestamp}
    signed_names = ";".join(headers)
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical_request = f"GET\n{path}\n\n{canonical_headers}\n{signed_names}\n{_EMPTY_SHA256}"
    scope = f"{date}/{REGION}/s3/aws4_request"
    to_sign = "\n".join((_ALGORITHM, timestamp, scope, hashlib.sha256(canonical_request.encode()).hexdigest()))
    key = f"AWS4{secrets.s3_secret_key}".encode()
    for part in (date, REGION, "s3", "aws4_request", to_sign):
        digest = hmac.new(key, part.encode(), hashlib.sha256)
        key = digest.digest()
    credential = f"Credential={secrets.s3_access_key}/{scope}"
    return {
        **headers,
        "authorization": f"{_ALGORITHM} {credential}, SignedHeaders={signed_names}, Signature={digest.hexdigest()}",
    }


def _program() -> str:
    """Returns rclone, which its wheel puts beside the interpreter."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise StackError("rclone, the S3 server of the stack, is not installed", advice="Run `make setup` again.")
    return found
