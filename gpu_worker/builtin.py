"""The built-in model `pingvas-tiny`: `python -m gpu_worker.builtin OUT_DIR` puts it into a models folder.

Owns what the catalogue is told of it (the manifest) and where it lies: OUT_DIR/pingvas-tiny/<revision>/. Leaves its
layers and weights to `builtin_weights`, which is only imported when there is something to build, because torch is not
free to import. Its weights are random: it shows that every part works, not what was asked for.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gpu_worker.model_files import (
    MANIFEST_NAME,
    ModelFilesError,
    list_files,
    manifest_entries,
    read_specification,
    verify_files,
)

MODEL_ID: Final = "pingvas-tiny"
# To be raised with any change of builtin_weights: a folder of an older revision is left as it is, beside the new one.
REVISION: Final = "1"
NATIVE_SIDE_PX: Final = 256
# Measured with 1 torch thread on a core of a Xeon of 2023 (Sapphire Rapids), guidance on: at the native size an image
# of n steps took 71 + 21.5 n milliseconds (medians of 7 warm renders at 1, 10, 20 and 40 steps), and a millicredit is a
# millisecond of GPU time. With 20 steps at 512 px the same two numbers are 4 % under what was measured, at 128 px 31 %.
_MILLICREDITS_PER_MEGAPIXEL_STEP: Final = 330
_FIXED_MILLICREDITS: Final = 70


def build(out_dir: Path, save_weights: Callable[[Path], None] | None = None) -> Path:
    """Makes sure that the model is whole below out_dir and returns the path of its manifest.

    Does nothing when every file is what the manifest says. Otherwise the model is built beside its place and moved
    there at the end, so that nobody ever finds a half of it.

    Args:
        out_dir: a models folder, made when absent.
        save_weights: writes the diffusers folder; by default `builtin_weights.save`.

    """
    folder = out_dir / MODEL_ID / REVISION
    if not is_whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{REVISION}-", dir=folder.parent))
        try:
            (save_weights or _default_save)(scratch)
            (scratch / MANIFEST_NAME).write_text(_manifest_json(scratch), encoding="utf-8")
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


def main() -> None:
    """Runs the command line: builds the model and prints the path of its manifest."""
    parser = argparse.ArgumentParser(prog="python -m gpu_worker.builtin", description=f"Builds the model {MODEL_ID}.")
    parser.add_argument("out_dir", type=Path, help="the models folder")
    sys.stdout.write(f"{build(parser.parse_args().out_dir)}\n")


def _default_save(folder: Path) -> None:
    from gpu_worker import builtin_weights  # noqa: PLC0415 - torch takes seconds, and mostly nothing is to be built

    builtin_weights.save(folder)


def _share(folder: Path) -> None:
    # mkdtemp and safetensors write for their owner alone; workers of other users read the same models.
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _replace(folder: Path, scratch: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    try:
        scratch.rename(folder)
    except OSError:
        # Another process was faster. Both built the same bytes, so its folder is as good as ours.
        if not is_whole(folder):
            raise


def _manifest_json(folder: Path) -> str:
    manifest = {
        "model_id": MODEL_ID,
        "display_name": "Pingvas Tiny",
        "family": "tiny",
        "revision": REVISION,
        "licence": "CC0-1.0",
        "native_width_px": NATIVE_SIDE_PX,
        "native_height_px": NATIVE_SIDE_PX,
        "minimum_tier": "free",
        "files": manifest_entries(list_files(folder)),
        # The price of one image; a job of several costs as many times that.
        "cost": {
            "millicredits_per_megapixel_step": _MILLICREDITS_PER_MEGAPIXEL_STEP,
            "fixed_millicredits": _FIXED_MILLICREDITS,
        },
        "default_step_count": 20,
        "default_guidance_scale": 7.5,
        # The first is the default.
        "schedulers": ["euler", "euler_a", "dpmpp_2m", "ddim", "unipc"],
    }
    return json.dumps(manifest, indent=2) + "\n"


if __name__ == "__main__":
    main()
