"""Schedulers by the names that the API gives them."""

from typing import Any, Final

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from gpu_worker.rendering import UnsupportedRequestError

_SCHEDULERS: Final[dict[str, Any]] = {
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "ddim": DDIMScheduler,
    "unipc": UniPCMultistepScheduler,
}
SCHEDULER_NAMES: Final = tuple(_SCHEDULERS)
"""Every name that `make_scheduler` knows."""


def make_scheduler(name: str, model_config: Any) -> Any:
    """Returns a new scheduler with the noise schedule of a model's own one.

    Always a new one: a scheduler remembers its last steps, and what it remembers would leak into the next picture.
    Raises UnsupportedRequestError for a name that is not in SCHEDULER_NAMES.
    """
    if name not in _SCHEDULERS:
        raise UnsupportedRequestError(f"the scheduler {name!r} is unknown; there are {', '.join(SCHEDULER_NAMES)}")
    return _SCHEDULERS[name].from_config(model_config)
