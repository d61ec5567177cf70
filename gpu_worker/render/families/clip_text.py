"""Prompts of any length and with weights through CLIP text encoders.

A prompt that fits into one window of the encoder and has no weights gives, bit for bit, what diffusers' `encode_prompt`
gives. A longer one is cut into windows, each with its own begin and end, whose outputs are put one after the other:
cross-attention takes any number of them.

A weight w moves a word's output on the line between that of the empty prompt at the same place and its own:
`empty + w * (own - empty)`. The other known way, to multiply by w and to bring the mean of all outputs back, divides by
that mean, which is near zero for some encoders; this one has no such case, is exact at 1, and removes the word at 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from svc_common.prompts import Segment

Hidden: TypeAlias = Callable[[Any], torch.Tensor]
"""Takes from an encoder's output the hidden states that the denoiser attends to: (1, tokens, width)."""


@dataclass(frozen=True, slots=True)
class ClipEncoder:
    """A tokenizer and a text encoder of a loaded model."""

    tokenizer: Any
    text_encoder: Any
    hidden: Hidden

    def window_count(self, segments: Sequence[Segment]) -> int:
        """Returns how many windows of the encoder a prompt takes, at least 1."""
        return max(1, -(-len(self._tokens(segments)) // self._room))

    def encode(self, segments: Sequence[Segment], window_count: int) -> tuple[torch.Tensor, Any]:
        """Encodes a prompt, with empty windows at its end if it takes fewer than window_count.

        Returns the hidden states (1, windows * tokens of a window, width), and the encoder's whole output of the first
        window, where pooled embeddings are.
        """
        tokens = self._tokens(segments)
        windows = [tokens[index * self._room : (index + 1) * self._room] for index in range(window_count)]
        outputs = [self._run([token for token, _ in window]) for window in windows]
        hidden = [self.hidden(output) for output in outputs]
        if any(weight != 1 for _, weight in tokens):
            empty = self.hidden(self._run([]))
            hidden = [self._weighted(states, empty, window) for states, window in zip(hidden, windows, strict=True)]
        return torch.cat(hidden, dim=1), outputs[0]

    @property
    def _room(self) -> int:
        # Each window begins and ends with a token of its own.
        return int(self.tokenizer.model_max_length) - 2

    def _tokens(self, segments: Sequence[Segment]) -> list[tuple[int, float]]:
        return [
            (token, segment.weight)
            for segment in segments
            for token in self.tokenizer(segment.text, add_special_tokens=False, verbose=False).input_ids
        ]

    def _run(self, tokens: list[int]) -> Any:
        tokenizer = self.tokenizer
        begun = [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]
        padded = begun + [tokenizer.pad_token_id] * (int(tokenizer.model_max_length) - len(begun))
        ids = torch.tensor([padded], device=self.text_encoder.device)
        return self.text_encoder(ids, output_hidden_states=True)

    def _weighted(self, states: torch.Tensor, empty: torch.Tensor, window: list[tuple[int, float]]) -> torch.Tensor:
        result = states.clone()
        for index, (_, weight) in enumerate(window, start=1):
            if weight != 1:
                result[:, index] = torch.lerp(empty[:, index], states[:, index], weight)
        return result


def encode_pair(
    encoder: ClipEncoder, prompt: Sequence[Segment], negative: Sequence[Segment] | None
) -> tuple[tuple[torch.Tensor, Any], tuple[torch.Tensor, Any] | None]:
    """Encodes a prompt and what to avoid, if any, to the same length, as guidance needs them."""
    count = max(encoder.window_count(segments) for segments in (prompt, negative or ()))
    return encoder.encode(prompt, count), None if negative is None else encoder.encode(negative, count)
