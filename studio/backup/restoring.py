"""Restores a backup into an empty stack: its folders first, then every object, and the database last and at once.

Objects were copied after the moment of the dump, so some are of work that the dump doesn't know: in the end they go.
"""

import asyncio
import io
import tarfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import asyncpg

from studio.backup import postgres
from studio.backup.buckets import Bucket
from studio.backup.repository import Repository
from studio.backup.sealing import Opener, Target
from studio.backup.snapshots import BackedUpObject, Manifest, Snapshot
from studio.backup.taking import Tell
from studio.stack.connections import Connections, DatabaseConnection
from studio.stack.failures import StackError
from studio.stack.keys import Secrets, ensure_role_passwords, ensure_secrets
from studio.stack.layout import Layout
from studio.stack.local import servers
from studio.stack.state import StackLock
from studio.stack.supervisor import Supervisor
from svc_common.migrations import ensure_roles
from svc_common.registry import AREAS
from svc_common.roles import schema_of

_PARALLEL = 8

# By the folder of an account in which the objects lie: the ids of all that the restored rows know.
_KNOWN = {
    "images": "SELECT image_id FROM gallery.images UNION SELECT unnest(image_ids) FROM generation.attempts",
    "uploads": "SELECT upload_id FROM gallery.uploads",
}
_OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration did."""

    snapshot: Snapshot
    seconds: float
    models: tuple[str, ...]
    """Whose weights the stack had on its disk."""


async def restore(
    repository: Repository,
    snapshot: Snapshot,
    opener: Opener,
    layout: Layout,
    environment: Mapping[str, str],
    tell: Tell,
) -> Restored:
    """Fills an empty stack, whose servers it starts and stops for that; raises StackError for one that holds anything.

    `environment` may name running servers, as for `pingvas up`.
    """
    started = time.monotonic()
    manifest = Manifest.from_json(_opened(repository, opener, f"{snapshot.folder}/manifest.json.age"))
    if (layout.postgres / "PG_VERSION").exists():
        raise StackError(
            f"{layout.data_dir} holds a stack",
            advice="Choose an empty folder with --data-dir, or remove that one first.",
        )
    layout.create()
    with StackLock(layout):
        _unpack(_opened(repository, opener, f"{snapshot.folder}/folders.tar.age"), layout)
        secrets = ensure_secrets(layout.keys)
        nodes, connections = servers(layout, secrets, environment)
        if connections.database.name != manifest.database:
            raise StackError(
                f"the backup is of a database called {manifest.database}, by which its roles are named as well",
                advice=f"Name an empty database of that name in DATABASE_URL, not {connections.database.name}.",
            )
        supervisor = Supervisor(nodes)
        await supervisor.start()
        try:
            await _refuse_a_used_database(connections.database)
            await _restore_objects(repository, opener, manifest, connections, tell)
            await _restore_database(repository, opener, snapshot, connections.database, secrets)
            tell(f"database: {snapshot.database_bytes / 1e6:,.1f} MB")
            later = await _delete_what_came_later(manifest, connections)
            tell(f"objects of after the backup's moment: {later:,}, deleted")
        finally:
            await supervisor.stop()
    return Restored(snapshot, round(time.monotonic() - started, 1), tuple(manifest.models))


async def _refuse_a_used_database(database: DatabaseConnection) -> None:
    connection = await asyncpg.connect(database.admin_url)
    try:
        schemas = [schema_of(area) for area in AREAS]
        used = await connection.fetchval("SELECT nspname FROM pg_namespace WHERE nspname = ANY($1) LIMIT 1", schemas)
    finally:
        await connection.close()
    if used:
        raise StackError(
            f"the database {database.name} isn't empty: it has a schema {used}",
            advice="A backup is restored into an empty database. Make one, and name it in DATABASE_URL.",
        )


async def _restore_objects(
    repository: Repository, opener: Opener, manifest: Manifest, connections: Connections, tell: Tell
) -> None:
    store = connections.object_store
    buckets = {"pictures": Bucket(store, store.bucket), "models": Bucket(store, store.models_bucket)}
    there = {name: bucket.sizes() for name, bucket in buckets.items()}

    def restore_one(each: BackedUpObject) -> None:
        target = buckets[each.bucket].writing(each.key)
        opener.open(repository.reading(each.stored), target)
        target.close()

    missing = [each for each in manifest.objects if there[each.bucket].get(each.key) != each.size_bytes]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        await asyncio.gather(*(asyncio.wrap_future(pool.submit(restore_one, each)) for each in missing))
    tell(f"objects: {len(manifest.objects):,}")


async def _restore_database(
    repository: Repository, opener: Opener, snapshot: Snapshot, database: DatabaseConnection, secrets: Secrets
) -> None:
    ensure_role_passwords(secrets, database.roles)
    passwords = {role: secrets.role_password(role) for role in database.roles}
    await ensure_roles(database.admin_url, passwords)

    def write(target: Target) -> None:
        opener.open(repository.reading(f"{snapshot.folder}/database.dump.age"), target)

    await asyncio.to_thread(postgres.restore, database.admin_url, write)


async def _delete_what_came_later(manifest: Manifest, connections: Connections) -> int:
    """Deletes the objects of pictures and uploads that no restored row knows; returns how many there were."""
    connection = await asyncpg.connect(connections.database.admin_url)
    try:
        known = {
            folder: {str(row[0]) for row in await connection.fetch(statement)} for folder, statement in _KNOWN.items()
        }
    finally:
        await connection.close()
    later = [
        each.key
        for each in manifest.objects
        if each.bucket == "pictures"
        and (place := each.key.split("/"))[0] == "users"
        and place[2] in known
        and place[3] not in known[place[2]]
    ]
    store = connections.object_store
    await asyncio.to_thread(Bucket(store, store.bucket).delete, later)
    return len(later)


def _unpack(packed: bytes, layout: Layout) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(layout.data_dir, filter="data")
    for file in layout.keys.rglob("*"):
        file.chmod(file.stat().st_mode & ~_OPEN_TO_OTHERS)


def _opened(repository: Repository, opener: Opener, path: str) -> bytes:
    plain = io.BytesIO()
    opener.open(repository.reading(path), plain)
    return plain.getvalue()
