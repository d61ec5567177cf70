"""`pingvas admin models`: puts models into the bucket from which workers fetch them.

Needs the keys of the object store, which only the operator has: those of the local stack, or those in the environment.
"""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import click
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gpu_worker.models.checkpoint_files.header import CheckpointError
from gpu_worker.models.checkpoint_files.survey import survey as survey_checkpoint
from gpu_worker.models.files import MANIFEST_NAME, ModelFile, ModelFilesError, read_specification, verify_files
from studio.cli.context import Shared, pass_shared, shared_options
from studio.cli.failures import CommandError, ExitCode
from studio.stack.connections import ObjectStoreConnection
from studio.stack.keys import ensure_secrets
from studio.stack.servers.s3 import url_of
from svc_common.lora_files.header import LoraFileError
from svc_common.lora_files.modules import some_of
from svc_common.lora_files.survey import LoraSurvey, survey
from svc_models.domain.kinds import ModelKind
from svc_models.domain.manifest import WEIGHTS_SUFFIX, Manifest, ManifestError, parse_manifest
from svc_models.domain.storage import object_key

_SHA256 = "sha256"
"""The name of the metadata of an object that tells what its file was."""


@click.group("models")
def admin_models() -> None:
    """Look after the models of the deployment."""


@admin_models.command()
@shared_options
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@pass_shared
def push(shared: Shared, folder: Path) -> None:
    """Put a model's folder, with its manifest.json, into the models bucket; the catalogue offers it soon after.

    What is there already is not sent again, so a push that broke off is just repeated.
    """
    manifest = checked_manifest(folder)
    surveyed = surveyed_lora(folder, manifest) if manifest.kind is ModelKind.LORA else None
    if manifest.kind is ModelKind.CHECKPOINT:
        check_checkpoint(folder, manifest)
    store = bucket_of(_connection(shared))
    sent = upload(store, folder, manifest, click.echo)
    name = f"{manifest.model_id} revision {manifest.revision}"
    click.echo(
        f"{name} is stored, {sent} of {len(manifest.files)} files were sent. The catalogue has it in 15 seconds."
    )
    if surveyed is not None and surveyed.unmatched:
        count, total = len(surveyed.unmatched), len(surveyed.unmatched) + len(surveyed.matched)
        click.echo(
            f"Only a part of it applies: {count} of its {total} modules match nothing in models of the family"
            f" {manifest.family} and will be left out: {some_of(surveyed.unmatched)}."
        )


def checked_manifest(folder: Path) -> Manifest:
    """Returns the manifest of a folder whose files are what it says; raises CommandError for any other."""
    try:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
        verify_files(folder, read_specification(folder / MANIFEST_NAME).files)
    except ManifestError as error:
        raise _bad_folder(f"{folder / MANIFEST_NAME} can't be used", "\n".join(error.problems)) from error
    except (OSError, ModelFilesError) as error:
        raise _bad_folder(f"{folder} is no model that can be used", str(error)) from error
    return manifest


def surveyed_lora(folder: Path, manifest: Manifest) -> LoraSurvey:
    """Returns what of a LoRA its family knows; raises CommandError for one that couldn't be applied exactly."""
    path = next(folder / file.path for file in manifest.files if file.path.endswith(WEIGHTS_SUFFIX))
    try:
        return survey(path, manifest.family)
    except LoraFileError as error:
        raise CommandError(
            f"the LoRA {manifest.model_id} can't be used",
            advice="Push it as a LoRA of the family that it was made for, or convert it to a kind that is supported.",
            details=f"{path.name} {error}.",
        ) from error


def check_checkpoint(folder: Path, manifest: Manifest) -> None:
    """Raises CommandError for a checkpoint that lacks a part, or can't do what its manifest says."""
    try:
        survey_checkpoint(folder, manifest.family, manifest.operations)
    except CheckpointError as error:
        raise _bad_folder(f"the model {manifest.model_id} can't be used", str(error)) from error


def upload(store: S3Store, folder: Path, manifest: Manifest, say: Callable[[str], object]) -> int:
    """Stores the files that the bucket doesn't have, then the manifest; returns how many files were sent.

    The manifest comes last, so that the catalogue never offers a model of which a file is on its way.
    """
    sent = 0
    try:
        for file in manifest.files:
            key = object_key(manifest.model_id, manifest.revision, file.path)
            wanted = ModelFile(file.path, file.size_bytes, file.sha256)
            if is_there := _has(store, key, wanted):
                say(f"{file.path}  is there")
            else:
                say(f"{file.path}  {file.size_bytes:,} bytes")
                attributes = {"Content-Type": "application/octet-stream", _SHA256: file.sha256}
                obstore.put(store, key, folder / file.path, attributes=attributes)
            sent += not is_there
        key = object_key(manifest.model_id, manifest.revision, MANIFEST_NAME)
        obstore.put(store, key, folder / MANIFEST_NAME, attributes={"Content-Type": "application/json"})
    except (BaseError, FileNotFoundError) as error:  # the latter is what a bucket that isn't there gives
        raise CommandError(
            "the object store did not take the model",
            advice="Check that it runs and has room, that the keys may write, and that the bucket exists; then push again.",
            exit_code=ExitCode.UNREACHABLE,
            details=str(error),
        ) from error
    return sent


def bucket_of(connection: ObjectStoreConnection) -> S3Store:
    """Returns a client of the models bucket."""
    return S3Store(
        connection.models_bucket,
        endpoint=connection.endpoint_url,
        region=connection.region,
        access_key_id=connection.access_key,
        secret_access_key=connection.secret_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": urlsplit(connection.endpoint_url).scheme == "http"},
    )


def _connection(shared: Shared) -> ObjectStoreConnection:
    """Returns the object store that S3_ENDPOINT_URL names, else that of the stack that runs."""
    if os.environ.get("S3_ENDPOINT_URL"):
        return ObjectStoreConnection.parse(os.environ)
    shared.require_running()
    secrets = ensure_secrets(shared.layout.keys)
    return ObjectStoreConnection(url_of(shared.layout), secrets.s3_access_key, secrets.s3_secret_key)


def _has(store: S3Store, key: str, file: ModelFile) -> bool:
    try:
        found = obstore.get(store, key, options={"head": True})
    except FileNotFoundError:
        return False
    return found.meta["size"] == file.size_bytes and found.attributes.get(_SHA256) == file.sha256


def _bad_folder(happened: str, details: str) -> CommandError:
    return CommandError(happened, advice="Correct the folder and push again.", details=details)
