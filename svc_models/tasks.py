"""Owns filling the catalogue from folders at start.

What a manifest must say is the domain's; building models and their manifests is left to whoever puts them there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_models.domain.manifest import Manifest, ManifestError, parse_manifest
from svc_models.domain.selection import choose_default, choose_served
from svc_models.store import queries

_log = structlog.get_logger(__name__)

_MANIFEST_NAME: Final = "manifest.json"
# A model's own folder, or one folder for each of its revisions.
_MANIFEST_PATTERNS: Final = (f"*/{_MANIFEST_NAME}", f"*/*/{_MANIFEST_NAME}")


class CatalogueError(Exception):
    """Says why the catalogue can't be filled from its folders, and what to change."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Holds what is to be put into the catalogue."""

    manifests: Sequence[Manifest]
    """Every revision that was found; the older ones are recorded, but not served."""
    served: Sequence[Manifest]
    default_model_id: str | None


def read_folders(folders: Sequence[Path], default_model_id: str | None) -> Publication:
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
    served = choose_served(found.values())
    if problems:
        raise CatalogueError("The catalogue can't be filled; correct these manifests:\n  " + "\n  ".join(problems))
    try:
        default = choose_default([manifest.model_id for manifest in served], default_model_id)
    except ValueError as error:
        raise CatalogueError(f"DEFAULT_MODEL_ID can't be used: {error}") from error
    return Publication(list(found.values()), served, default)


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
