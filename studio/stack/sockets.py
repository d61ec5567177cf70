"""Where the Unix sockets of a local stack are: in a folder that only their owner may enter, and under a path that fits.

The kernel takes paths of 107 bytes (sun_path), which the folder of a test or of a deep home passes easily.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from studio.stack.failures import StackError

_MAX_PATH_BYTES = 107
_OWNER_ONLY = 0o700


def socket_path(folder: Path, name: str) -> Path:
    """Returns the path of a socket in a folder, or in a private one for temporary files where that path is too long.

    The answer for a folder is always the same, whoever asks.
    """
    path = folder.absolute() / name
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"pingvas-{os.getuid()}-{digest}" / name


def ensure_private_folder(folder: Path) -> None:
    """Creates a folder that only its owner may enter, unless it is there.

    Raises StackError when somebody else was faster: everybody may write to the folder for temporary files.
    """
    folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != _OWNER_ONLY:
        raise StackError(
            f"{folder} must be a folder that belongs to you alone (mode 700), and isn't",
            advice="Remove it, or choose a shorter path with --data-dir.",
        )
