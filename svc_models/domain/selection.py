"""Owns which of the manifests that were found are offered: one revision of each model, and one model by default."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from svc_models.domain.kinds import ModelKind
from svc_models.domain.manifest import Manifest

BUILT_IN_MODEL_ID: Final = "pingvas-tiny"

_DIGITS: Final = re.compile(r"(\d+)")


def choose_served(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Returns the latest revision of each model, in the order in which the models first appear.

    Folders of older revisions stay beside the new one, since workers may still be running jobs of theirs.
    """
    latest: dict[str, Manifest] = {}
    for manifest in manifests:
        other = latest.setdefault(manifest.model_id, manifest)
        if _revision_order(manifest.revision) > _revision_order(other.revision):
            latest[manifest.model_id] = manifest
    return list(latest.values())


def choose_default(served: Sequence[Manifest], wanted: str | None) -> str | None:
    """Returns the model that a request without one gets: the wanted one, else the built-in one, else the first.

    Only a checkpoint can be it. Raises ValueError when a model was asked for by name that isn't there. Returns None when
    there are no models.
    """
    model_ids = [manifest.model_id for manifest in served if manifest.kind is ModelKind.CHECKPOINT]
    if wanted is None:
        return BUILT_IN_MODEL_ID if BUILT_IN_MODEL_ID in model_ids else next(iter(model_ids), None)
    if wanted in model_ids:
        return wanted
    raise ValueError(f"{wanted!r} is none of the models that were found: {', '.join(model_ids) or 'none'}")


def _revision_order(revision: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Returns a key under which numbers count as numbers, so that 10 comes after 9 and "1.10" after "1.9".

    The text itself decides between revisions that only differ in leading zeros.
    """
    parts = _DIGITS.split(revision)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part), revision
