"""From a seed to the noise that a picture begins with: every bit of the seed counts.

torch's generator on the CPU is a Mersenne Twister that is begun with the low 32 bits of a seed, so that 0 and 2^32 are one.
The authors of the Twister give a second way to begin it, `init_by_array`, for keys of any length: seeds from 2^32 on are keys
of two words there. Those below keep torch's own beginning, and with it every picture that they have ever made.
"""

from typing import Final

import numpy as np
import torch

_SHORT_SEEDS: Final = 2**32
_WORD_BITS: Final = 32
# The state of torch's generator as bytes: the seed (8), the count of words left (4), a flag (4), the next word's index (8),
# then the Twister's 624 words, each in 8 bytes.
_WORDS_AT: Final = 24
_WORDS: Final = 624


def noise_generator(seed: int) -> torch.Generator:
    """Returns the generator of a seed, 0 to 2^64 - 1. On the CPU whatever the device: noise is then the same everywhere."""
    generator = torch.Generator("cpu").manual_seed(seed)
    if seed >= _SHORT_SEEDS:
        state = generator.get_state()
        words = np.random.RandomState([seed % _SHORT_SEEDS, seed >> _WORD_BITS]).get_state(legacy=False)["state"]["key"]
        state.numpy()[_WORDS_AT : _WORDS_AT + 8 * _WORDS] = words.astype("<u8").view(np.uint8)
        generator.set_state(state)
    return generator
