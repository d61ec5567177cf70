"""What other image tools call the fields of our requests, so that a refusal of an unknown field can name the right one.

The keys are in lower case without underscores, as names are compared. Each may have several names here: the first that
the message in question has is suggested. Names that differ from ours in a letter or two need no entry.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FIELD_ALIASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # AUTOMATIC1111/stable-diffusion-webui, /sdapi/v1/txt2img and img2img
        "steps": ("step_count",),
        "cfgscale": ("guidance_scale",),
        "width": ("width_px",),
        "height": ("height_px",),
        "samplername": ("scheduler",),
        "sampler": ("scheduler",),
        "samplerindex": ("scheduler",),
        "niter": ("image_count",),
        "batchsize": ("image_count",),
        "batchcount": ("image_count",),
        "denoisingstrength": ("strength",),
        "initimages": ("source_image_id", "source_upload_id", "source"),
        "sdmodelcheckpoint": ("model_id",),
        # diffusers pipelines and the services built on them
        "numinferencesteps": ("step_count",),
        "guidance": ("guidance_scale",),
        "cfg": ("guidance_scale",),
        "numimages": ("image_count",),
        "numoutputs": ("image_count",),
        "numimagesperprompt": ("image_count",),
        "generator": ("seed",),
        "maskimage": ("mask",),
        "image": ("source",),
        "initimage": ("source",),
        # OpenAI's images API
        "n": ("image_count",),
        "model": ("model_id",),
    }
)
