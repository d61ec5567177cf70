"""The headers of a checkpoint's files, read without trust."""

import os
from pathlib import Path

from svc_common.safetensors_header import FileHeader, HeaderError, parse_header


class CheckpointError(Exception):
    """Files that no model can be made of as they are; the message says what is wrong, a line for each problem."""


def read_header(path: Path) -> FileHeader:
    """Reads the header of a safetensors file; raises CheckpointError for one that lies, is cut short, or is another format."""
    try:
        with path.open("rb") as stream:
            return parse_header(stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise CheckpointError(f"{path.name} can't be read: {error.strerror}") from error
    except HeaderError as error:
        raise CheckpointError(f"{path.name} {error}") from error
