"""The families of models that a worker can run, by the name that the catalogue gives them."""

from typing import Final

from gpu_worker.families.stable_diffusion import StableDiffusion
from gpu_worker.rendering import UnsupportedRequestError

FAMILIES: Final = {
    # The built-in model: Stable Diffusion's own classes, small.
    "tiny": StableDiffusion(),
    "sd15": StableDiffusion(),
}


def family_named(name: str) -> StableDiffusion:
    """Returns a family; raises UnsupportedRequestError for a name that this worker does not know."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise UnsupportedRequestError(f"this worker cannot run models of the family {name!r}") from None
