"""How a command fails: one line for what happened, one for what to do, and an exit code that scripts can rely on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can tell from the exit of a command."""

    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    # 128 + SIGINT, as shells have it.
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with a message for the person at the keyboard."""

    def __init__(
        self, happened: str, *, advice: str, exit_code: ExitCode = ExitCode.REFUSED, details: str = ""
    ) -> None:
        """Takes what happened and what to do, each in a sentence, and optionally lines to show below."""
        super().__init__(happened)
        self.happened = happened
        self.advice = advice
        self.exit_code = exit_code
        self.details = details
