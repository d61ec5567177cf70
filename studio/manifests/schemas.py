"""Compares manifests with the schemas of their kinds.

Built-in kinds are compared strictly, in two versions of Kubernetes; custom ones as far as their classes are to be had as
packages. Karpenter, External Secrets and Argo CD publish none: of their kinds only the version is known here, and a typing
error in one of them shows at the server-side dry-run of docs/deployment.md.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.keda import v1alpha1 as keda
from pydantic import BaseModel, ValidationError

from studio.manifests.rendering import Manifest, name_of

VERSIONS: Final = ("1.31", "1.37")
_CLASSES: Final[dict[str, type[BaseModel]]] = {
    "keda.sh/v1alpha1/ScaledObject": keda.ScaledObject,
    "cert-manager.io/v1/Certificate": cert_manager.Certificate,
    "cert-manager.io/v1/Issuer": cert_manager.Issuer,
    "cert-manager.io/v1/ClusterIssuer": cert_manager.ClusterIssuer,
}
_WITHOUT_CLASSES: Final = frozenset(
    {
        "karpenter.sh/v1/NodePool",
        "karpenter.k8s.aws/v1/EC2NodeClass",
        "external-secrets.io/v1/ExternalSecret",
        "external-secrets.io/v1/SecretStore",
        "argoproj.io/v1alpha1/Application",
        "argoproj.io/v1alpha1/AppProject",
    }
)


def faults(manifest: Manifest) -> Iterator[str]:
    """Yields what the schema of its kind refuses."""
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    check = _faults_of_class if kind in _CLASSES else _faults_of_builtin
    if kind not in _WITHOUT_CLASSES:
        yield from check(manifest, kind)


def _faults_of_class(manifest: Manifest, kind: str) -> Iterator[str]:
    try:
        known = _CLASSES[kind].model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            yield f"{name_of(manifest)}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        return
    for path in unknown_keys(manifest, known):
        yield f"{name_of(manifest)}: {path} is no field of {kind}"


def _faults_of_builtin(manifest: Manifest, _: str) -> Iterator[str]:
    for version in VERSIONS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name_of(manifest)}: {'.'.join(map(str, error.path))}: {error.message} (Kubernetes {version})"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{name_of(manifest)}: Kubernetes {version} has no {manifest['apiVersion']} {manifest['kind']}"


def unknown_keys(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Yields the paths of keys that a class of a schema ignored: `known` is what it kept of `given`."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            below = f"{path}.{key}".lstrip(".")
            if key in known:
                yield from unknown_keys(value, known[key], below)
            else:
                yield below
    elif isinstance(given, list) and isinstance(known, list):
        for number, (one, kept) in enumerate(zip(given, known, strict=False)):
            yield from unknown_keys(one, kept, f"{path}.{number}")
