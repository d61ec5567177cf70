"""What the denoiser's training dwells upon."""

import torch

from training.denoiser import cell_weights


def test_cells_of_an_object_count_for_more_than_its_background() -> None:
    latents = torch.zeros(2, 4, 32, 32)
    latents[1] = 0.7  # another background
    latents[:, 0, 8:12, 4:20] += 2.0
    latents[:, 1, 30, 30] += 0.5  # a trace of the autoencoder's
    weights = cell_weights(latents, object_weight=4.0)
    assert weights.shape == (2, 1, 32, 32)
    expected = torch.ones(2, 1, 32, 32)
    expected[:, :, 8:12, 4:20] = 4.0
    assert torch.equal(weights, expected)
