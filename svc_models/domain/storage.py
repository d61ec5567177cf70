"""Owns where the files of models lie in the models bucket, and the refusal of a model that isn't there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from svc_common.errors import Reason, ServiceError

MANIFEST_NAME: Final = "manifest.json"

_MANIFEST_DEPTH: Final = 3


@dataclass(frozen=True, slots=True)
class Located:
    """Holds addresses by path, all of which expire at one time."""

    addresses: dict[str, str]
    expire_time: datetime


def object_key(model_id: str, revision: str, path: str) -> str:
    """Returns the key of a file; its manifest lies beside the files, as in a folder."""
    return f"{revision_folder(model_id, revision)}/{path}"


def revision_folder(model_id: str, revision: str) -> str:
    """Returns below what the files of a revision lie."""
    return f"{model_id}/{revision}"


def is_manifest_key(key: str) -> bool:
    """Tells whether a key is that of a revision's manifest; deeper ones are files of models that are named so."""
    parts = key.split("/")
    return len(parts) == _MANIFEST_DEPTH and parts[-1] == MANIFEST_NAME


def model_not_stored(model_id: str, path: str) -> ServiceError:
    """Returns the refusal of a model that the catalogue knows and the bucket lacks a file of."""
    return ServiceError(
        Reason.MODEL_NOT_STORED,
        f"The models bucket has no {path!r} of the model {model_id!r}; an operator puts it there with "
        "`pingvas admin models push`.",
        metadata={"model_id": model_id, "path": path},
    )
