"""Makes the CLIPTokenizer: CLIP's own rules with a small vocabulary learnt from generated captions.

All 256 bytes are in the vocabulary, so that any text in any language has tokens; only what captions are made of has
short ones.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTokenizer

from training.captions import caption
from training.scenes import random_training_scene

MAX_TOKENS: Final = 77
_VOCABULARY_SIZE: Final = 1600
_CAPTIONS: Final = 40_000
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"


def train_tokenizer() -> CLIPTokenizer:
    """Returns a tokenizer learnt from captions; the same one at every call."""
    plain = CLIPTokenizer(vocab=_byte_vocabulary(), merges=[])
    tokenizer = Tokenizer(models.BPE(unk_token=_END, end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = plain.backend_tokenizer.normalizer
    tokenizer.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_SIZE, initial_alphabet=_byte_characters(), end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(_captions(), trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    vocabulary = _byte_vocabulary([first + second for first, second in merges])
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Returns the tokenizer of a folder, which is made when absent."""
    if not (folder / "tokenizer_config.json").exists():
        train_tokenizer().save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def _captions() -> Iterator[str]:
    rng = random.Random("tokenizer")
    for _ in range(_CAPTIONS):
        yield caption(random_training_scene(rng), rng)


def _byte_vocabulary(merged: list[str] | None = None) -> dict[str, int]:
    characters = _byte_characters()
    tokens = [*characters, *(f"{character}</w>" for character in characters), *(merged or []), _START, _END]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def _byte_characters() -> list[str]:
    """Returns the printable character that byte-level vocabularies write for each byte from 0 to 255."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]
