"""The built-in model `pingvas-tiny`: `python -m gpu_worker.models.builtin OUT_DIR` puts it into a models folder.

Owns what the catalogue is told of it (the manifest) and the way from the repository, where its files lie, to
OUT_DIR/pingvas-tiny/<revision>/. Leaves how it was made to `training`, and loading it to the pipeline.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from pingvas.vocabulary import Operation

from gpu_worker.models.files import (
    MANIFEST_NAME,
    ModelFilesError,
    list_files,
    manifest_entries,
    read_specification,
    verify_files,
)

MODEL_ID: Final = "pingvas-tiny"
# To be raised with any change of the weights: a folder of an older revision is left as it is, beside the new one.
REVISION: Final = "5"
SHIPPED: Final = Path(__file__).resolve().parents[2] / "models" / MODEL_ID / REVISION
"""The model's folder in the repository, its manifest included."""
_NATIVE_SIDE_PX: Final = 256
# Measured with 1 torch thread on a core of a Xeon of 2023 (Sapphire Rapids), guidance on; a millicredit is a
# millisecond of GPU time.
_MILLICREDITS_PER_MEGAPIXEL_STEP: Final = 450
_UPSCALE_MILLICREDITS_PER_MEGAPIXEL: Final = 700
_FIXED_MILLICREDITS: Final = 120


def install(out_dir: Path, shipped: Path = SHIPPED) -> Path:
    """Makes sure that the model is whole below out_dir and returns the path of its manifest there.

    Does nothing when every file is what the manifest says. Otherwise the model is copied beside its place and moved
    there at the end, so that nobody ever finds a half of it.

    Args:
        out_dir: a models folder, made when absent.
        shipped: where the model is copied from.

    Raises:
        ModelFilesError: the shipped files are not what their manifest says.

    """
    folder = out_dir / MODEL_ID / REVISION
    if not is_whole(folder):
        verify_files(shipped, read_specification(shipped / MANIFEST_NAME).files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{REVISION}-", dir=folder.parent))
        try:
            shutil.copytree(shipped, scratch, dirs_exist_ok=True, copy_function=shutil.copyfile)
            _share(scratch)
            _replace(folder, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder / MANIFEST_NAME


def is_whole(folder: Path) -> bool:
    """Tells whether a model's folder holds exactly what its manifest says."""
    try:
        verify_files(folder, read_specification(folder / MANIFEST_NAME).files)
    except ModelFilesError:
        return False
    return True


def write_manifest(folder: Path) -> None:
    """Writes what the catalogue is told of the model, with the files that lie in its folder."""
    manifest = {
        "model_id": MODEL_ID,
        "display_name": "Pingvas Tiny",
        "family": "tiny",
        "revision": REVISION,
        "licence": "CC0-1.0",
        "native_width_px": _NATIVE_SIDE_PX,
        "native_height_px": _NATIVE_SIDE_PX,
        "minimum_tier": "free",
        "operations": list(Operation),
        "files": manifest_entries(list_files(folder)),
        # The price of one image; a job of several costs as many times that.
        "cost": {
            "millicredits_per_megapixel_step": _MILLICREDITS_PER_MEGAPIXEL_STEP,
            "fixed_millicredits": _FIXED_MILLICREDITS,
            "upscale_millicredits_per_megapixel": _UPSCALE_MILLICREDITS_PER_MEGAPIXEL,
        },
        "default_step_count": 20,
        "default_guidance_scale": 3.0,
        # The first is the default.
        "schedulers": ["euler", "euler_a", "dpmpp_2m", "ddim", "unipc", "lcm"],
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Runs the command line: installs the model and prints the path of its manifest."""
    parser = argparse.ArgumentParser(
        prog="python -m gpu_worker.models.builtin", description=f"Installs the model {MODEL_ID}."
    )
    parser.add_argument("out_dir", type=Path, help="the models folder")
    sys.stdout.write(f"{install(parser.parse_args().out_dir)}\n")


def _share(folder: Path) -> None:
    # mkdtemp makes folders for their owner alone; workers of other users read the same models.
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _replace(folder: Path, scratch: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    try:
        scratch.rename(folder)
    except OSError:
        # Another process was faster. Both copied the same bytes, so its folder is as good as ours.
        if not is_whole(folder):
            raise


if __name__ == "__main__":
    main()
