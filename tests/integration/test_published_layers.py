"""The list of published layers is what the published models' configurations make."""

import json

import pytest

from bench.published_layers import FAMILIES, published_layers
from svc_common.lora_files.survey import PUBLISHED_LAYERS_PATH


@pytest.mark.parametrize("family", FAMILIES)
def test_published_layers_are_those_of_the_models(family: str) -> None:
    assert json.loads(PUBLISHED_LAYERS_PATH.read_text("utf-8"))[family] == published_layers(family)
