"""How the address of a deployment is read, and where its page is."""

import platform
from typing import Final

from pingvas_sdk.address import Address

from studio.cli.failures import CommandError, ExitCode

# What a person sees among their sessions.
USER_AGENT: Final = f"pingvas ({platform.system()})"


def read_address(endpoint: str) -> Address:
    """Returns a deployment's address; raises CommandError for what is none."""
    try:
        return Address.of(endpoint)
    except ValueError as error:
        raise CommandError(
            f"{endpoint!r} is not an address of a deployment",
            advice="Write it as https://HOST, http://HOST:PORT or HOST:PORT.",
            exit_code=ExitCode.USAGE,
        ) from error


def page_address(endpoint: str) -> str:
    """Returns where a deployment's page is, without a slash at the end: the same host and port as its API."""
    return read_address(endpoint).url
