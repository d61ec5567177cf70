"""A picture that is dropped back is repeated: its recipe alone, and the inputs that it names, give the same pixels."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pingvas.vocabulary import Operation

from gpu_worker.models.files import ModelSpec
from gpu_worker.pictures.encode import encode_original
from gpu_worker.pictures.inputs import Inputs
from gpu_worker.pictures.recipe import image_recipe, recipe_of_png, spec_of_recipe
from gpu_worker.render.interface import RenderSpec
from gpu_worker.render.pipeline import DiffusersPipeline
from svc_common.decoding import decode_mask, decode_source
from tests.factories.renders import draw, ignore, never, photograph, render_spec, square_mask
from tests.integration.pipeline.conftest import ModelOf

DETAILS = {
    Operation.TEXT_TO_IMAGE: {"scheduler": "unipc", "image_count": 2},
    Operation.IMAGE_TO_IMAGE: {"strength": 0.7, "step_count": 5, "guidance_scale": 3.25},
    Operation.INPAINT: {"strength": 0.8, "step_count": 4, "mask_feather_px": 5, "seed": 2**53 - 1},
    Operation.UPSCALE: {"scale_factor": 2, "width_px": 96, "height_px": 96},
}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def inputs_of(operation: Operation) -> Inputs:
    """Decodes the inputs of an operation as they come from the store."""
    if operation is Operation.TEXT_TO_IMAGE:
        return Inputs()
    source = png(photograph(48, 48) if operation is Operation.UPSCALE else photograph(70, 90))
    inputs = Inputs(source=decode_source(source), source_sha256=hashlib.sha256(source).hexdigest())
    if operation is not Operation.INPAINT:
        return inputs
    mask = png(square_mask(70, 90))
    return replace(inputs, mask=decode_mask(mask, 90, 70), mask_sha256=hashlib.sha256(mask).hexdigest())


def first_spec(model: ModelSpec, operation: Operation, inputs: Inputs) -> RenderSpec:
    given = {"source": inputs.source, "mask": inputs.mask}
    return render_spec(model, operation=operation, **DETAILS[operation] | given)


@pytest.mark.parametrize("operation", Operation)
def test_recipe_out_of_a_picture_gives_the_same_pixels_again(
    pipeline: DiffusersPipeline, model_of: ModelOf, operation: Operation
) -> None:
    model = model_of("tiny")
    inputs = inputs_of(operation)
    spec = first_spec(model, operation, inputs)
    result = pipeline.render(spec, ignore, never)
    image = result.images[-1]
    picture = encode_original(image.pixels, image_recipe(spec, image, result, inputs)).data

    again = spec_of_recipe(recipe_of_png(picture), lambda *_: model, inputs_of(operation))
    repeated = draw(pipeline, again)
    assert np.array_equal(repeated, np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))
    assert not np.array_equal(draw(pipeline, replace(again, prompt="a blue whale", seed=77)), repeated) or (
        operation is Operation.UPSCALE
    )
