"""Schedulers by the names that the API gives them."""

from typing import Any, Final

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from gpu_worker.render.interface import UnsupportedRequestError

_SCHEDULERS: Final[dict[str, Any]] = {
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "ddim": DDIMScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
    "flow_match": FlowMatchEulerDiscreteScheduler,
}
DIFFUSION_SCHEDULERS: Final = ("euler", "euler_a", "dpmpp_2m", "ddim", "unipc", "lcm")
"""Of models that were trained to take away noise of a thousand levels."""
FLOW_SCHEDULERS: Final = ("flow_match",)
"""Of models that were trained on straight flows; the solvers above assume another path from noise to picture."""
SCHEDULER_NAMES: Final = tuple(_SCHEDULERS)
"""Every name that `make_scheduler` knows."""
# LCM picks its steps out of as many as it was distilled with, and refuses to run more than those.
_LCM_DISTILLED_STEPS: Final = 50


def make_scheduler(name: str, model_config: Any, step_count: int) -> Any:
    """Returns a new scheduler with the noise schedule of a model's own one.

    Always a new one: a scheduler remembers its last steps, and what it remembers would leak into the next picture.
    Raises UnsupportedRequestError for a name that is not in SCHEDULER_NAMES.
    """
    if name not in _SCHEDULERS:
        raise UnsupportedRequestError(f"the scheduler {name!r} is unknown; there are {', '.join(SCHEDULER_NAMES)}")
    changes = {"original_inference_steps": max(_LCM_DISTILLED_STEPS, step_count)} if name == "lcm" else {}
    return _SCHEDULERS[name].from_config(model_config, **changes)
