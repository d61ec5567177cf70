"""What a snapshot consists of, as its manifest and its summary tell it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from studio.backup.repository import Repository
from studio.stack.failures import StackError

_COMPLETE = "complete.json"
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class BackedUpObject:
    """An object of a bucket, and where the repository keeps it."""

    bucket: str
    """`pictures` or `models`, whatever the deployment calls its buckets."""
    key: str
    size_bytes: int
    stored: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs to a snapshot."""

    database: str
    objects: Sequence[BackedUpObject]
    models: Sequence[str]
    """The models whose weights lay on the machine's disk. They aren't part of a backup: they come from elsewhere."""

    def to_json(self) -> bytes:
        """Returns its document."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Reads its document."""
        document = json.loads(content)
        objects = [BackedUpObject(**each) for each in document.pop("objects")]
        return cls(objects=objects, **document)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One backup, by the moment at which it began."""

    time: datetime
    object_count: int
    object_bytes: int
    database_bytes: int
    seconds: float

    @property
    def folder(self) -> str:
        """Where its files are."""
        return folder_of(self.time)

    def finish(self, repository: Repository) -> None:
        """Marks it as complete."""
        document: dict[str, Any] = asdict(self) | {"time": self.time.strftime(_TIME)}
        repository.write(f"{self.folder}/{_COMPLETE}", json.dumps(document, indent=2).encode())


def folder_of(time: datetime) -> str:
    """Returns where the files of a snapshot are."""
    return f"snapshots/{time.astimezone(UTC).strftime(_TIME)}"


def complete_snapshots(repository: Repository) -> list[Snapshot]:
    """Returns the snapshots that were finished, oldest first."""
    found = []
    for path in repository.names("snapshots"):
        if path.endswith(f"/{_COMPLETE}"):
            document = json.loads(repository.read(path) or b"{}")
            time = datetime.strptime(document.pop("time"), _TIME).replace(tzinfo=UTC)
            found.append(Snapshot(time=time, **document))
    return sorted(found, key=lambda snapshot: snapshot.time)


def chosen(repository: Repository, at: datetime | None) -> Snapshot:
    """Returns the last snapshot, or the last one that began by then; raises StackError when there is none."""
    found = [snapshot for snapshot in complete_snapshots(repository) if at is None or snapshot.time <= at]
    if not found:
        when = f" from before {at:%Y-%m-%d %H:%M}Z" if at else ""
        raise StackError(
            f"{repository.name} holds no complete backup{when}",
            advice="`pingvas admin backups` lists what a place holds.",
        )
    return found[-1]
