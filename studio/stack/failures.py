"""The one way in which the local stack fails: what happened, and what to do about it."""


class StackError(Exception):
    """Says what kept the stack from doing what was asked, and what the person at the keyboard can do."""

    def __init__(self, happened: str, *, advice: str, log_tail: str = "") -> None:
        """Takes one sentence for what happened, one for what to do, and optionally the end of the log concerned."""
        super().__init__(happened)
        self.happened = happened
        self.advice = advice
        self.log_tail = log_tail

    def __str__(self) -> str:
        """Returns everything as text, for places that show an exception as it is."""
        parts = [self.happened, self.advice]
        return "\n".join([*parts, self.log_tail] if self.log_tail else parts)
