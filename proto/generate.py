"""Generates gen/ from proto/: Python messages, gRPC stubs, type stubs, enums without gRPC, the descriptor set, and OpenAPI.

It needs no network.

`--check` generates into a scratch folder and fails when gen/ differs, so that nobody edits it by hand or forgets it.
"""

import argparse
import filecmp
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
# In the package, so that an installed one has them too.
DESCRIPTOR_SET: Final = "pingvas/pingvas.binpb"
OPENAPI: Final = "pingvas/openapi.json"
_INCLUDES: Final = (
    "proto",
    "third_party/googleapis",
    "third_party/protovalidate",
    "third_party/keda",
    "third_party/envoy",
)
_VALIDATE: Final = "buf/validate/validate.proto"
# KEDA's, which svc_generation serves, and Envoy's, which svc_user serves; no contracts of ours, and so in neither the
# descriptor set nor the OpenAPI document.
_OF_OTHERS: Final = ("keda/externalscaler.proto", "envoyproxy/rls.proto")
# Envoy writes the details of errors as JSON, for which it must know their types.
_ERROR_DETAILS: Final = ("google/rpc/error_details.proto", "google/rpc/status.proto")


def generate(out: Path) -> None:
    """Writes everything into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    protos = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*.proto"))
    python = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    # protovalidate's options are generated; Google's come with googleapis-common-protos and must not be shadowed.
    _protoc([*python, _VALIDATE])
    _protoc([*python, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *protos, *_OF_OTHERS])
    _protoc(["--include_imports", f"--descriptor_set_out={out / DESCRIPTOR_SET}", *protos, *_ERROR_DETAILS])
    _run_with(out, "proto/vocabulary.py", out / "pingvas/vocabulary.py")
    _write_openapi(out, protos)
    for empty in _without_services(out):
        empty.unlink()


def _write_openapi(out: Path, protos: list[str]) -> None:
    """Writes the document. Comments are compiled for it alone: they are larger than all that Envoy and the bridge read."""
    with tempfile.TemporaryDirectory() as scratch:
        commented = Path(scratch) / "commented.binpb"
        _protoc(["--include_imports", "--include_source_info", f"--descriptor_set_out={commented}", *protos])
        _run_with(out, "-m", "edge_http.openapi", commented, out / OPENAPI)


def _run_with(out: Path, *arguments: str | Path) -> None:
    """Runs Python in a process of its own, which imports the contracts just generated and not those of before."""
    subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{out}{os.pathsep}{ROOT}"}, check=True
    )


def _without_services(out: Path) -> list[Path]:
    """Returns the gRPC modules of files that define messages only: nothing imports them."""
    return [path for path in (out / "pingvas").rglob("*_pb2_grpc.py*") if "_service_pb2_grpc" not in path.name]


def _protoc(arguments: list[str]) -> None:
    includes = [argument for folder in _INCLUDES for argument in ("-I", folder)]
    # The plugins of mypy-protobuf lie beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        check=True,
    )


def differences(first: Path, second: Path) -> list[str]:
    """Returns the paths below two folders whose content differs, or that only one of them has."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in (first, second)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(name for name in names if not _same(first / name, second / name))


def _same(first: Path, second: Path) -> bool:
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python proto/generate.py", description="Generates gen/ from proto/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when gen/ isn't as generated")
    check = parser.parse_args().check
    if importlib.util.find_spec("grpc_tools") is None:
        sys.stderr.write("grpcio-tools is missing: run `make setup` first.\n")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "gen"
        generate(fresh)
        changed = differences(fresh, ROOT / "gen")
        if check:
            for name in changed:
                sys.stderr.write(f"gen/{name} isn't as generated; run `make gen` and commit the result.\n")
            return 1 if changed else 0
        if changed:
            shutil.rmtree(ROOT / "gen", ignore_errors=True)
            shutil.copytree(fresh, ROOT / "gen")
        sys.stdout.write(f"gen/: {len(changed)} files changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
