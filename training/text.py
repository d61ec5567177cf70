"""Trains the text encoder alone at first: from a caption it is to tell what the picture shows.

A few minutes of this take the place of most of what the denoiser's training would spend on finding out what words
mean. Every state from the end of the text on must know all, so that the denoiser finds it wherever it looks.
"""

import random
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training import replicas
from training.attributes import Heads, attribute_loss, attributes
from training.captions import caption, disturbed
from training.loop import Average, Budget, Reporter, Run, choose_device, descend
from training.scenes import random_training_scene
from training.tokenizer import MAX_TOKENS, load_tokenizer

CHECKPOINT: Final = "text.pt"
TOKENIZER: Final = "tokenizer"
TEXT_WIDTH: Final = 192
_PEAK_RATE: Final = 1e-3
_BATCH: Final = 64
_EMA_DECAY: Final = 0.995
# Every state from the end on must know all, but most captions fill a third of the places: most steps leave out what
# lies behind, which makes them twice as fast.
_WHOLE_SHARE: Final = 0.2
_SPARE_PLACES: Final = 4
_PLACES: Final = 4


class CaptionReader(nn.Module):
    """The text encoder and the heads that it is trained with."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = new_text_encoder(tokenizer)
        self.heads = Heads(TEXT_WIDTH)

    def forward(self, tokens: torch.Tensor, places: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the logits of each head from the states at places, (batch, n), of tokens, (batch, length).

        Logits are (batch * n, answers).
        """
        states = self.text_encoder(input_ids=tokens).last_hidden_state
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        logits: dict[str, torch.Tensor] = self.heads(states[rows, places].flatten(0, 1))
        return logits


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Returns an untrained text encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=6,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def train(work_dir: Path, budget: Budget) -> None:
    """Trains until the budget is spent."""
    device = choose_device()
    tokenizer = load_tokenizer(work_dir / TOKENIZER)
    torch.manual_seed(0)  # the same first weights in every replica
    reader = CaptionReader(tokenizer).to(device)
    if device.type == "cpu":
        # The backward pass of fused attention takes longer there than all the rest.
        reader.text_encoder.set_attn_implementation("eager")
    average = Average(reader, _EMA_DECAY)
    run = Run(reader, average, torch.optim.AdamW(reader.parameters(), betas=(0.9, 0.98), weight_decay=0.01), budget)
    run.resume(work_dir / CHECKPOINT, device)
    rng = random.Random(f"text {budget.step}/{replicas.rank()}")
    reporter, batch = Reporter(budget), _BATCH // replicas.count()
    while budget.share < 1.0:
        loss = _step(run, tokenizer, rng, batch, device)
        budget.tick()
        reporter.add(batch, loss=loss)
    run.save(work_dir / CHECKPOINT)


def trained_text_state(work_dir: Path) -> dict[str, torch.Tensor]:
    """Returns the weights of the trained text encoder."""
    state = torch.load(work_dir / CHECKPOINT, map_location="cpu", weights_only=True)["average"]
    prefix = "text_encoder."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Returns tokens, (batch, 77), padded as pipelines do."""
    encoded = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    tokens: torch.Tensor = encoded.input_ids
    return tokens


def _step(run: Run, tokenizer: CLIPTokenizer, rng: random.Random, batch: int, device: torch.device) -> float:
    scenes = [random_training_scene(rng) for _ in range(batch)]
    tokens = tokenize(tokenizer, [disturbed(caption(scene, rng), rng) for scene in scenes])
    ends = tokens.eq(tokenizer.eos_token_id).int().argmax(1).tolist()
    if rng.random() > _WHOLE_SHARE:
        tokens = tokens[:, : max(ends) + 1 + _SPARE_PLACES]
    # Of the states that must know all, the first and some others.
    places = [[end, *rng.choices(range(end, tokens.shape[1]), k=_PLACES - 1)] for end in ends]
    targets = torch.tensor([attributes(scene) for scene in scenes], device=device).repeat_interleave(_PLACES, 0)
    with torch.autocast(device.type, torch.bfloat16):
        logits = run.module(tokens.to(device), torch.tensor(places, device=device))
    loss = attribute_loss(logits, targets)
    descend(run, loss, _PEAK_RATE)
    return loss.item()
