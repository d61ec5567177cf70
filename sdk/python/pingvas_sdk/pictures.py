"""Pictures that were made, and files that are to be worked on."""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from pingvas.generation.v1.job_pb2 import JobImage

_SIGNATURES: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the gallery, with its bytes: a PNG that carries the recipe."""

    image_id: str
    job_id: str
    seed: int
    width_px: int
    height_px: int
    data: bytes = field(repr=False)
    # What the platform said of it when the job ended.
    image: JobImage = field(repr=False)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the picture into a file, in place of one that is there, and returns its path."""
        file = Path(path)
        file.write_bytes(self.data)
        return file


# A file's path, its bytes, or a picture that is in the gallery already.
Source: TypeAlias = str | PathLike[str] | bytes | Picture


def content_type(data: bytes) -> str | None:
    """Returns the type of a picture by its first twelve bytes, or None for one that jobs can't work on."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), None)
