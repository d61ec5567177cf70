"""Noise of seeds: what it was for short ones, and different for any two."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_worker.render.seeding import noise_generator

FAR_APART = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**40, 2**52, 2**53 - 2, 2**53 - 1]


def noise(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 8, 8, generator=noise_generator(seed))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**32 - 1])
def test_short_seeds_give_the_noise_that_torch_gives_them(seed: int) -> None:
    assert torch.equal(noise(seed), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)))


def test_seeds_that_differ_in_any_bit_give_other_noise() -> None:
    seeds = [*FAR_APART, *(1 << bit for bit in range(1, 53))]
    drawn = {noise(seed).numpy().tobytes() for seed in seeds}
    assert len(drawn) == len(set(seeds))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**53 - 1))
def test_noise_of_a_seed_is_the_same_each_time(seed: int) -> None:
    assert torch.equal(noise(seed), noise(seed))


@pytest.mark.parametrize("seed", [2**32, 2**45 + 12345, 2**53 - 1])
def test_long_seeds_begin_the_twister_by_the_array_of_their_words(seed: int) -> None:
    # numpy has a Twister of its own. torch makes a number from 0 to 1 of the low 24 bits of a word.
    twister = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
    words = twister.randint(0, 2**32, 700, dtype=np.uint32)
    assert torch.equal(
        torch.rand(700, generator=noise_generator(seed)), torch.from_numpy((words & 0xFFFFFF) / np.float32(2**24))
    )


def test_noise_of_a_long_seed_stays_what_it_is() -> None:
    drawn = torch.randn(3, generator=noise_generator(2**40))
    assert drawn.tolist() == pytest.approx([-0.0191, 0.8417, 0.0923], abs=1e-4)
