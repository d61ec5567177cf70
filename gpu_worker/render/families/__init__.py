"""The families of models that a worker can run, by the name that the catalogue gives them."""

from typing import Final

from gpu_worker.render.families.family import Family
from gpu_worker.render.families.flow import Flux, ZImage
from gpu_worker.render.families.stable_diffusion import BuiltIn, StableDiffusion, StableDiffusionXL
from gpu_worker.render.families.upscalers import UpscalerX2, UpscalerX4
from gpu_worker.render.interface import UnsupportedRequestError

FAMILIES: Final[dict[str, Family]] = {
    "tiny": BuiltIn(),
    "sd15": StableDiffusion(),
    "sdxl": StableDiffusionXL(),
    "flux": Flux(),
    "zimage": ZImage(),
    "sd_x2": UpscalerX2(),
    "sd_x4": UpscalerX4(),
}


def family_named(name: str) -> Family:
    """Returns a family; raises UnsupportedRequestError for a name that this worker does not know."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise UnsupportedRequestError(f"this worker cannot run models of the family {name!r}") from None
