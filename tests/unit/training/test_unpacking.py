"""A shipped model can be trained further by whoever has nothing but the model."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from gpu_worker.models.builtin import SHIPPED
from training.attributes import Kind, kind_of
from training.denoiser import load_average
from training.latents import AUTOENCODER, training_scene
from training.scenes import is_held_out
from training.text import TOKENIZER, trained_text_state
from training.tokenizer import load_tokenizer
from training.unpacking import unpack


def test_unpacked_model_is_the_shipped_one(tmp_path: Path) -> None:
    unpack(SHIPPED, tmp_path)
    denoiser = load_average(tmp_path, load_tokenizer(tmp_path / TOKENIZER))
    shipped = UNet2DConditionModel.from_pretrained(SHIPPED / "unet")
    for name, weights in shipped.state_dict().items():
        assert torch.equal(denoiser.unet.state_dict()[name], weights), name
    for name, weights in trained_text_state(tmp_path).items():
        assert torch.equal(denoiser.text_encoder.state_dict()[name], weights), name
    assert AutoencoderKL.from_pretrained(tmp_path / AUTOENCODER).config.latent_channels == 4


def test_latents_behind_those_of_all_kinds_show_pairs_and_nothing_held_out() -> None:
    scenes = [training_scene(index) for index in range(23_900, 24_200)]
    assert {kind_of(scene) for scene in scenes[:100]} == set(Kind)
    assert {kind_of(scene) for scene in scenes[100:]} == {Kind.BESIDE, Kind.STACKED}
    assert not any(map(is_held_out, scenes))
    assert training_scene(24_100) == scenes[200], "a latent's scene is made again from its number"
