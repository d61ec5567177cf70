"""Downloads the zips that the platform makes, with a bar where somebody watches."""

import sys
from pathlib import Path
from typing import Final

import click
import httpx

from studio.cli.failures import CommandError, ExitCode

_SECONDS: Final = 60.0
"""Without a byte."""


def download(url: str, file: Path) -> None:
    """Writes what an address gives into a file; raises CommandError."""
    try:
        with httpx.stream("GET", url, timeout=_SECONDS) as answer, file.open("wb") as out:
            answer.raise_for_status()
            size = int(answer.headers.get("content-length", 0))
            with click.progressbar(length=size, label=file.name, file=sys.stderr) as bar:
                for chunk in answer.iter_bytes():
                    out.write(chunk)
                    bar.update(len(chunk))
    except httpx.HTTPError as error:
        raise CommandError(
            f"the zip could not be downloaded: {error}",
            advice="Run the command again.",
            exit_code=ExitCode.UNREACHABLE,
        ) from error
