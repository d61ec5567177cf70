"""Takes a backup while the deployment runs: the database at one moment, then every object that is there.

The order makes it consistent: whatever the database names was stored before its row was written. An object that is
deleted between the two had left every list long before, and the platform's sweeps deal with its row as they do elsewhere.
"""

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from studio.backup import postgres
from studio.backup.buckets import Bucket, Listed
from studio.backup.repository import Readable, Repository
from studio.backup.sealing import Sealer
from studio.backup.snapshots import BackedUpObject, Manifest, Snapshot, folder_of
from studio.stack.connections import Connections
from studio.stack.layout import Layout

_PARALLEL = 8

Tell = Callable[[str], None]


def take(repository: Repository, sealer: Sealer, layout: Layout, connections: Connections, tell: Tell) -> Snapshot:
    """Takes one backup, telling of its progress; raises StackError, and leaves no complete snapshot, when it fails."""
    started, moment = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
    folder = folder_of(moment)
    with postgres.dumping(connections.database.admin_url) as dump:
        counted = _Counted(dump)
        with repository.writing(f"{folder}/database.dump.age") as to:
            sealer.seal(counted, to)
    tell(f"database: {counted.size_bytes / 1e6:,.1f} MB")
    with repository.writing(f"{folder}/folders.tar.age") as to:
        sealer.seal(io.BytesIO(_packed(layout)), to)
    objects = _copied(repository, sealer, connections, tell)
    manifest = Manifest(connections.database.name, objects, _models_in(layout.models))
    with repository.writing(f"{folder}/manifest.json.age") as to:
        sealer.seal(io.BytesIO(manifest.to_json()), to)
    snapshot = Snapshot(
        time=moment,
        object_count=len(objects),
        object_bytes=sum(each.size_bytes for each in objects),
        database_bytes=counted.size_bytes,
        seconds=round(time.monotonic() - started, 1),
    )
    snapshot.finish(repository)
    return snapshot


def _copied(repository: Repository, sealer: Sealer, connections: Connections, tell: Tell) -> list[BackedUpObject]:
    """Copies the objects that the repository hasn't got yet; returns all that are part of the snapshot."""
    store = connections.object_store
    there = set(repository.names("objects"))
    found: list[BackedUpObject] = []
    for name, bucket in (("pictures", Bucket(store, store.bucket)), ("models", Bucket(store, store.models_bucket))):

        def copy(listed: Listed, name: str = name, bucket: Bucket = bucket) -> BackedUpObject | None:
            stored = f"objects/{name}/{listed.key}/{listed.version}.age"
            if stored not in there:
                try:
                    content = bucket.reading(listed.key)
                except FileNotFoundError:
                    return None  # deleted meanwhile
                with repository.writing(stored) as to:
                    sealer.seal(content, to)
            return BackedUpObject(name, listed.key, listed.size_bytes, stored)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            for number, each in enumerate(pool.map(copy, bucket.objects()), start=1):
                if each is not None:
                    found.append(each)
                if number % 1000 == 0:
                    tell(f"{name}: {number:,} objects")
    fresh = sum(each.stored not in there for each in found)
    tell(f"objects: {len(found):,}, of which {fresh:,} are new here")
    return found


def _packed(layout: Layout) -> bytes:
    """Returns the folders and files of a stack that are nowhere else, as a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in kept_paths(layout):
            # A mail that is being delivered has a name that is gone a moment later.
            with suppress(FileNotFoundError):
                archive.add(path, arcname=str(path.relative_to(layout.data_dir)))
    return packed.getvalue()


def kept_paths(layout: Layout) -> Iterable[Path]:
    """Returns what of the data folder belongs to a backup besides database and objects."""
    return (path for path in (layout.keys, layout.mail, layout.payments) if path.exists())


def _models_in(folder: Path) -> list[str]:
    """Returns the ids of the models whose revisions lie in a folder, each in a folder of its own."""
    manifests = folder.glob("*/*/manifest.json")
    return sorted({str(json.loads(file.read_text(encoding="utf-8"))["model_id"]) for file in manifests})


class _Counted(Readable):
    """A stream that counts what is read of it."""

    def __init__(self, source: object) -> None:
        super().__init__(source)
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        content = super().read(size)
        self.size_bytes += len(content)
        return content
