"""The upscalers of Stable Diffusion, by denoising: x4 in pixels with a prompt, and x2 in latents.

Each works tile by tile, so that memory is bounded by a tile and not by the picture. All tiles begin with the noise that
one large picture would have at their place; what they share then resembles, and they are faded into each other.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from diffusers import StableDiffusionLatentUpscalePipeline, StableDiffusionUpscalePipeline
from PIL import Image
from pingvas.vocabulary import Operation

from gpu_worker.render.families import sources
from gpu_worker.render.families.embedding_cache import Embeddings
from gpu_worker.render.families.family import Family
from gpu_worker.render.families.latent_rgb import LatentRgb
from gpu_worker.render.families.loading import load_pipeline
from gpu_worker.render.families.stable_diffusion import encode_with_one_clip
from gpu_worker.render.families.tiles import Tile, paste, plan_tiles
from gpu_worker.render.interface import Pixels, RenderSpec
from gpu_worker.render.seeding import noise_generator
from svc_common.prompts import plain_text

_LATENT_CHANNELS: Final = 4


class DiffusionUpscaler(Family):
    """A family of models that enlarge by one factor; other factors are several passes, or a pass and a reduction."""

    operations: ClassVar[frozenset[Operation]] = frozenset({Operation.UPSCALE})
    has_loras: ClassVar[bool] = False
    pipeline_class: ClassVar[Any]
    factor: ClassVar[int]
    tile_px: ClassVar[int]
    """Side of a tile of the source, near what the model was trained on."""
    overlap_px: ClassVar[int]
    size_multiple_px: ClassVar[int]
    """Of a tile's sides, for its latents to be halved as often as the U-Net does."""
    cell_px: ClassVar[int]
    """Pixels of the source for each cell of the latents that are denoised."""

    def load(self, folder: Path, dtype: torch.dtype) -> Any:
        """Loads a model into host memory as its pipeline; raises CheckpointError."""
        return load_pipeline(self.pipeline_class, folder, dtype)

    def latent_rgb(self, pipe: Any) -> LatentRgb | None:  # noqa: ARG002 - of other families
        """Returns None: a tile is no preview of the picture."""
        return None

    def step_count(self, spec: RenderSpec, source: Pixels) -> int:
        """Returns the denoising steps of all tiles of all passes over a source."""
        height, width = source.shape[:2]
        sizes = [(height * self.factor**index, width * self.factor**index) for index in range(self._passes(spec))]
        return spec.step_count * sum(len(self._tiles(*size)) for size in sizes)

    def upscale(
        self, spec: RenderSpec, source: Pixels, seed: int, denoise: Callable[[dict[str, Any]], Pixels]
    ) -> Pixels:
        """Enlarges a source by the spec's factor.

        Args:
            spec: what is asked for.
            source: the picture.
            seed: of the noise.
            denoise: runs the pipeline with the arguments of one tile and returns the tile's pixels.

        """
        pixels = source
        for _ in range(self._passes(spec)):
            pixels = self._enlarged(pixels, spec, seed, denoise)
        surplus = pixels.shape[0] // (source.shape[0] * spec.scale_factor)
        return pixels if surplus == 1 else np.asarray(Image.fromarray(pixels).reduce(surplus))

    def _passes(self, spec: RenderSpec) -> int:
        passes = 1
        while self.factor**passes < spec.scale_factor:
            passes += 1
        return passes

    def _tiles(self, height: int, width: int) -> list[Tile]:
        padded = (side + -side % self.size_multiple_px for side in (height, width))
        return plan_tiles(*padded, side=self.tile_px, overlap=self.overlap_px)

    def _enlarged(
        self, source: Pixels, spec: RenderSpec, seed: int, denoise: Callable[[dict[str, Any]], Pixels]
    ) -> Pixels:
        height, width = source.shape[:2]
        padded = sources.pad_to_multiple(source, self.size_multiple_px)
        cells = [side // self.cell_px for side in padded.shape[:2]]
        noise = torch.randn(1, _LATENT_CHANNELS, *cells, generator=noise_generator(seed))
        result = np.zeros((padded.shape[0] * self.factor, padded.shape[1] * self.factor, 3), np.uint8)
        for tile in self._tiles(height, width):
            rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
            pixels = denoise(
                {
                    "num_inference_steps": spec.step_count,
                    "guidance_scale": spec.guidance_scale,
                    "image": Image.fromarray(padded[rows, columns]),
                    "latents": noise[:, :, self._cells(rows), self._cells(columns)],
                    "generator": noise_generator(seed),
                }
            )
            paste(result, pixels, tile, self.factor)
        return np.ascontiguousarray(result[: height * self.factor, : width * self.factor])

    def _cells(self, span: slice) -> slice:
        return slice(span.start // self.cell_px, span.stop // self.cell_px)


class UpscalerX4(DiffusionUpscaler):
    """Enlarges four times: the source is an input of the denoiser, with a little noise that the model knows of."""

    pipeline_class: ClassVar[Any] = StableDiffusionUpscalePipeline
    schedulers: ClassVar[tuple[str, ...]] = ("ddim", "euler", "dpmpp_2m", "unipc")
    factor: ClassVar[int] = 4
    tile_px: ClassVar[int] = 128
    overlap_px: ClassVar[int] = 32
    size_multiple_px: ClassVar[int] = 8
    cell_px: ClassVar[int] = 1

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts of a spec into arguments of the pipeline."""
        return encode_with_one_clip(pipe, spec, guided=self.guided(spec))


class UpscalerX2(DiffusionUpscaler):
    """Enlarges twice, in the latents of Stable Diffusion 1.x; its U-Net is conditioned on sigmas, as Euler has them."""

    pipeline_class: ClassVar[Any] = StableDiffusionLatentUpscalePipeline
    schedulers: ClassVar[tuple[str, ...]] = ("euler",)
    factor: ClassVar[int] = 2
    tile_px: ClassVar[int] = 512
    overlap_px: ClassVar[int] = 64
    size_multiple_px: ClassVar[int] = 64
    cell_px: ClassVar[int] = 4

    def encode(self, pipe: Any, spec: RenderSpec) -> Embeddings:
        """Encodes the prompts of a spec, without their weights, into arguments of the pipeline."""
        guided = self.guided(spec)
        embeds, negative, pooled, negative_pooled = pipe.encode_prompt(
            plain_text(spec.prompt), pipe.device, guided, plain_text(spec.negative_prompt)
        )
        return {
            "prompt_embeds": embeds,
            "negative_prompt_embeds": negative if guided else None,
            "pooled_prompt_embeds": pooled,
            "negative_pooled_prompt_embeds": negative_pooled if guided else None,
        }
