"""Owns filling the catalogue: from folders at start, and from the models bucket at start and by a sweep.

What a manifest must say is the domain's; building models and their manifests is left to whoever puts them there. A bad
manifest in a folder is a mistake of the deployment, and the process doesn't start; one in the bucket came while it ran,
and is passed over with a warning.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_common.objects import ObjectStore
from svc_common.sweeps import Sweep
from svc_models.domain.manifest import Manifest, ManifestError, parse_manifest
from svc_models.domain.selection import choose_default, choose_served
from svc_models.domain.storage import MANIFEST_NAME, is_manifest_key, object_key
from svc_models.store import queries

_log = structlog.get_logger(__name__)

# A model's own folder, or one folder for each of its revisions.
_MANIFEST_PATTERNS: Final = (f"*/{MANIFEST_NAME}", f"*/*/{MANIFEST_NAME}")
_READS_AT_ONCE: Final = 8
_BUCKET_INTERVAL: Final = timedelta(seconds=10)
_BUCKET_START_SECONDS: Final = 5.0
"""How long a start waits for the bucket; what it has is published by the sweep then."""


class CatalogueError(Exception):
    """Says why the catalogue can't be filled from its folders, and what to change."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Holds what is to be put into the catalogue."""

    manifests: Sequence[Manifest]
    """Every revision that was found; the older ones are recorded, but not served."""
    served: Sequence[Manifest]
    default_model_id: str | None


def read_folders(folders: Sequence[Path]) -> Sequence[Manifest]:
    """Reads every manifest of the folders; raises CatalogueError that names each bad one.

    Blocks on the disk: it is called once, before anything is served.
    """
    found: dict[Path, Manifest] = {}
    problems: list[str] = []
    for path in _manifest_paths(folders, problems):
        try:
            found[path] = parse_manifest(path.read_bytes())
        except ManifestError as error:
            problems.extend(f"{path}: {problem}" for problem in error.problems)
        except OSError as error:
            problems.append(f"{path}: can't be read: {error.strerror}")
    problems.extend(_repetitions(found))
    if problems:
        raise CatalogueError("The catalogue can't be filled; correct these manifests:\n  " + "\n  ".join(problems))
    return list(found.values())


async def read_bucket(bucket: ObjectStore) -> Sequence[Manifest]:
    """Reads every manifest of the models bucket; raises DEPENDENCY_UNAVAILABLE when the store is away."""
    keys = [stored.key async for stored in bucket.list_prefix("") if is_manifest_key(stored.key)]
    free = asyncio.Semaphore(_READS_AT_ONCE)

    async def read(key: str) -> Manifest | None:
        async with free:
            content = await bucket.read(key)
        return None if content is None else _manifest_at(key, content)

    manifests = await asyncio.gather(*(read(key) for key in sorted(keys)))
    return [manifest for manifest in manifests if manifest is not None]


def publication_of(manifests: Iterable[Manifest], default_model_id: str | None) -> Publication:
    """Returns what to publish of the manifests; of two that describe one revision the first counts.

    Raises CatalogueError when the default that is asked for is none of them.
    """
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        found.setdefault((manifest.model_id, manifest.revision), manifest)
    served = choose_served(found.values())
    try:
        default = choose_default(served, default_model_id)
    except ValueError as error:
        raise CatalogueError(f"DEFAULT_MODEL_ID can't be used: {error}") from error
    return Publication(list(found.values()), served, default)


class CatalogueFiller:
    """Publishes the manifests of the folders together with those that the bucket has at the time."""

    def __init__(
        self,
        database: Database,
        bucket: ObjectStore,
        folder_manifests: Sequence[Manifest],
        default_model_id: str | None,
        now: Callable[[], datetime],
    ) -> None:
        """Takes the database under the tasks role, the models bucket, and what the folders had at start."""
        self._database = database
        self._bucket = bucket
        self._folder_manifests = folder_manifests
        self._default_model_id = default_model_id
        self._now = now
        self._published: Publication | None = None

    async def fill(self) -> None:
        """Publishes before the process serves; without the bucket if that doesn't answer soon.

        Raises CatalogueError when the default model that was asked for is nowhere.
        """
        try:
            async with asyncio.timeout(_BUCKET_START_SECONDS):
                stored = await read_bucket(self._bucket)
        except (TimeoutError, ServiceError) as error:
            _log.warning("catalogue.bucket_away", error=str(error))
            if self._default_model_id in {None, *(manifest.model_id for manifest in self._folder_manifests)}:
                await self._publish(publication_of(self._folder_manifests, self._default_model_id))
            return
        await self._publish(publication_of((*self._folder_manifests, *stored), self._default_model_id))

    def sweep(self) -> Sweep:
        """Returns the sweep that publishes what was put into the bucket since, or changed there."""
        return Sweep("models.bucket", _BUCKET_INTERVAL, self._publish_changes)

    async def _publish_changes(self) -> int:
        publication = publication_of(
            (*self._folder_manifests, *await read_bucket(self._bucket)), self._default_model_id
        )
        if publication == self._published:
            return 0
        await self._publish(publication)
        return len(publication.manifests)

    async def _publish(self, publication: Publication) -> None:
        await publish(self._database, publication, self._now)
        self._published = publication


async def publish(database: Database, publication: Publication, now: Callable[[], datetime]) -> None:
    """Puts a publication into the catalogue in one transaction; models that it doesn't name stay as they are.

    Args:
        database: the database under the tasks role, which alone may write the catalogue.
        publication: what to put there; an empty one changes nothing.
        now: the clock.

    """
    if not publication.manifests:
        _log.warning("catalogue.no_manifests")
        return
    async with database.transaction() as transaction:
        await queries.lock_catalogue(transaction)
        await _warn_of_changed_files(transaction, publication.manifests)
        await queries.withdraw(transaction, [manifest.model_id for manifest in publication.served])
        for manifest in publication.manifests:
            is_served = manifest in publication.served
            is_default = is_served and manifest.model_id == publication.default_model_id
            await queries.upsert(transaction, manifest, is_served=is_served, is_default=is_default, now=now())
    served = [f"{manifest.model_id}@{manifest.revision}" for manifest in publication.served]
    _log.info("catalogue.published", models=served, default=publication.default_model_id)


def _manifest_paths(folders: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder}: isn't a folder; correct CATALOGUE_DIRS or make it")
            continue
        paths = sorted(path for pattern in _MANIFEST_PATTERNS for path in folder.glob(pattern))
        # Hidden folders are models that are still being built.
        yield from (path for path in paths if not _is_hidden(path.relative_to(folder)))


def _manifest_at(key: str, content: bytes) -> Manifest | None:
    try:
        manifest = parse_manifest(content)
    except ManifestError as error:
        _log.warning("catalogue.manifest_refused", key=key, problems=list(error.problems))
        return None
    if object_key(manifest.model_id, manifest.revision, MANIFEST_NAME) != key:
        _log.warning("catalogue.manifest_misplaced", key=key, model_id=manifest.model_id, revision=manifest.revision)
        return None
    return manifest


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _repetitions(found: dict[Path, Manifest]) -> Iterator[str]:
    first: dict[tuple[str, str], Path] = {}
    for path, manifest in found.items():
        other = first.setdefault((manifest.model_id, manifest.revision), path)
        if other != path:
            yield f"{path}: describes {manifest.model_id} revision {manifest.revision}, as {other} does"


async def _warn_of_changed_files(transaction: AsyncSession, manifests: Sequence[Manifest]) -> None:
    rows = {(row.model_id, row.revision): row for row in await queries.find_revisions(transaction, manifests)}
    for manifest in manifests:
        row = rows.get((manifest.model_id, manifest.revision))
        if row is not None and not queries.has_files_of(row, manifest):
            # Jobs that wait with the old files will fail to load them: a changed model should be a new revision.
            _log.warning("catalogue.files_changed", model_id=manifest.model_id, revision=manifest.revision)
