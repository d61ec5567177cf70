"""Pictures that a job works on: files of this machine are uploaded, pictures of the gallery are named by their ids."""

import uuid
from pathlib import Path

import httpx
from pingvas.gallery.v1.gallery_service_pb2 import CreateUploadRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1.job_pb2 import ImageSource
from pingvas_sdk.pictures import content_type

from studio.cli.client import Client
from studio.cli.failures import CommandError, ExitCode

_UPLOAD_SECONDS = 120.0


def image_source(client: Client, name: str) -> ImageSource:
    """Returns the source that a file name or a picture's id means; a file is uploaded first.

    Raises CommandError when it is neither, when the file is no PNG, JPEG or WebP, or when the upload fails.
    """
    file = Path(name)
    if file.is_file():
        return ImageSource(upload_id=_upload(client, file))
    try:
        return ImageSource(image_id=str(uuid.UUID(name)))
    except ValueError:
        raise CommandError(
            f"{name} is neither a file nor the id of a picture",
            advice="Name a PNG, JPEG or WebP file, or an id that `pingvas images list` shows.",
            exit_code=ExitCode.USAGE,
        ) from None


def _upload(client: Client, file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", advice="Check its permissions.") from error
    kind = content_type(data)
    if kind is None:
        raise CommandError(
            f"{file} is no PNG, JPEG or WebP picture", advice="Convert it to one of them.", exit_code=ExitCode.USAGE
        )
    request = CreateUploadRequest(content_type=kind, size_bytes=len(data))
    upload = client.call(GalleryServiceStub(client.channel).CreateUpload, request)
    try:
        httpx.put(
            upload.put_url, content=data, headers={"content-type": kind}, timeout=_UPLOAD_SECONDS
        ).raise_for_status()
    except httpx.HTTPError as error:
        # Never the address: its query is a credential.
        problem = f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else repr(error)
        raise CommandError(
            f"{file} could not be uploaded: {problem}", advice="Try again.", exit_code=ExitCode.UNREACHABLE
        ) from error
    return upload.upload_id
