"""The real fleet for tests: a whole stack on ports and in folders of its own, whose workers find the tests' fakes."""

from collections.abc import Mapping
from pathlib import Path

from studio.scratch import ScratchStack

REPOSITORY = Path(__file__).resolve().parents[1]


class Fleet(ScratchStack):
    """A whole stack that a test owns; `with Fleet(tmp_path)` starts it and stops it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> None:
        """Takes what a ScratchStack takes."""
        usual = {
            # Workers must find tests.fakes, whatever folder the tests were started in.
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen'}",
            # Tests call faster than the free tier may; what is counted and where is as usual.
            "ACCOUNT_LIMIT_FACTOR": "100",
        }
        super().__init__(
            data_dir, workers=workers, settings=usual | dict(settings or {}), environment=environment, tls=tls
        )
