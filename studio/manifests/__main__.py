"""`python -m studio.manifests generate` writes what is computed from the contracts; `check` renders and checks everything."""

import argparse
import sys
from collections.abc import Iterator

from studio.manifests import policy, schemas
from studio.manifests.network import CALLERS_FILE, generated
from studio.manifests.rendering import ENVIRONMENTS, ROOTS, ManifestError, render
from svc_common.contracts import DESCRIPTOR_SET


def faults() -> Iterator[str]:
    """Yields everything that is wrong with the manifests; raises ManifestError when they can't even be rendered."""
    if CALLERS_FILE.read_text(encoding="utf-8") != generated(DESCRIPTOR_SET.read_bytes()):
        yield f"{CALLERS_FILE.name} isn't as the contracts want it: run `python -m studio.manifests generate`"
    for root in ROOTS:
        manifests = render(root)
        for manifest in manifests:
            for fault in schemas.faults(manifest):
                yield f"k8s/{root}: {fault}"
        if root in ENVIRONMENTS:
            for fault in policy.faults(manifests):
                yield f"k8s/{root}: {fault}"


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m studio.manifests", description="The Kubernetes manifests.")
    parser.add_argument("command", choices=["generate", "check"])
    if parser.parse_args().command == "generate":
        CALLERS_FILE.write_text(generated(DESCRIPTOR_SET.read_bytes()), encoding="utf-8")
        return 0
    try:
        found = list(faults())
    except ManifestError as error:
        found = [str(error)]
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(f"k8s/: {len(found)} faults in {', '.join(ROOTS)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
