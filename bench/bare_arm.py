"""The bare arm of `bench.job_overhead`, within the worker's own process.

A worker and another process render the same picture at speeds that differed by 19 ms less to 48 ms more, of 600, in four runs:
more than what is to be measured. So the worker is given this pipeline: between two jobs, when it has nothing to do, the same
weights are rendered and encoded on request, and nothing else is done.
"""

import os
import socket
import struct
import threading
import time
from typing import Final

from gpu_worker.models.builtin import MODEL_ID, REVISION
from gpu_worker.models.files import MANIFEST_NAME, read_specification
from gpu_worker.pictures.encode import encode_artifacts
from gpu_worker.pictures.recipe import image_recipe
from gpu_worker.render.interface import PipelineSettings, RenderSpec
from gpu_worker.render.pipeline import DiffusersPipeline
from gpu_worker.render.pipeline import create as create_pipeline

SOCKET_VARIABLE: Final = "BENCH_SOCKET"
STEP_COUNT: Final = 20
SIDE_PX: Final = 256
GUIDANCE_SCALE: Final = 7.5
SEED: Final = 7
PROMPT: Final = "a red circle to the left of a blue star"
_SECONDS: Final = struct.Struct("d")


def create(settings: PipelineSettings) -> DiffusersPipeline:
    """Returns the worker's usual pipeline, which can be asked for a bare render through a socket as well."""
    pipeline = create_pipeline(settings)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ[SOCKET_VARIABLE])
    listener.listen()
    threading.Thread(target=_serve, args=(listener, pipeline, settings), daemon=True).start()
    return pipeline


class BareArm:
    """Asks a worker for bare renders."""

    def __init__(self, path: str) -> None:
        """Connects to the worker's socket."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def run(self) -> float:
        """Renders and encodes once; returns the seconds that it took."""
        self._socket.sendall(b"\0")
        seconds: float = _SECONDS.unpack(self._socket.recv(_SECONDS.size))[0]
        return seconds


def _serve(listener: socket.socket, pipeline: DiffusersPipeline, settings: PipelineSettings) -> None:
    spec = RenderSpec(
        model=read_specification(settings.models_dir / MODEL_ID / REVISION / MANIFEST_NAME),
        prompt=PROMPT,
        negative_prompt="",
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        step_count=STEP_COUNT,
        guidance_scale=GUIDANCE_SCALE,
        seed=SEED,
        image_count=1,
        scheduler="euler",
    )
    connection, _ = listener.accept()
    while connection.recv(1):
        connection.sendall(_SECONDS.pack(_bare(pipeline, spec)))


def _bare(pipeline: DiffusersPipeline, spec: RenderSpec) -> float:
    started = time.perf_counter()
    result = pipeline.render(spec, lambda _: None, lambda: False)
    encode_artifacts(result.images[0].pixels, image_recipe(spec, result.images[0], result))
    return time.perf_counter() - started
