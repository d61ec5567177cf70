"""The first weights of the autoencoder: it starts as the average of each 8 x 8 cell, painted back over the cell.

From random weights the colours took most of the training: a thousand steps for lightness and one of the two other
directions. Started like this they are there from the first step, and all of the training goes into the details.

How it passes through a network made of normalisations: the first channels of the residual stream carry +r, -r, +g, -g,
+b, -b, +K, -K. Their sum is zero, so that a group normalisation over all channels has no mean to take away, and K is so
large a constant that it alone decides about the deviation. SiLU(x) - SiLU(-x) = x makes a pair linear again.
"""

from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import nn

_COLOURS: Final = 3
_CARRIED: Final = 8
_CONSTANT: Final = 4.0
# What the layers beside the stream add at first.
_BRANCH_SHARE: Final = 0.1


@torch.no_grad()
def start_as_averaging(vae: AutoencoderKL) -> None:
    """Sets the weights of an untrained autoencoder with one normalisation group."""
    _open_stream(vae.encoder.conv_in)
    _open_stream(vae.decoder.conv_in)
    for module in vae.modules():
        match type(module).__name__:
            case "ResnetBlock2D":
                _quieten(module)
            case "Downsample2D":
                _carry(module.conv)
                # The taps that a stride of 2 with one row of padding at the end puts on the four cells.
                _spread(module.conv, slice(0, 2), 0.25)
            case "Upsample2D":
                _carry(module.conv)
                _spread(module.conv, slice(1, 2), 1.0)
    _close_stream(vae.encoder.conv_norm_out, vae.encoder.conv_out)
    _close_stream(vae.decoder.conv_norm_out, vae.decoder.conv_out)
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        convolution.weight.copy_(torch.eye(len(convolution.weight))[:, :, None, None])
        convolution.bias.zero_()


def _open_stream(convolution: Any) -> None:
    convolution.weight[:_CARRIED].zero_()
    convolution.bias[:_CARRIED].zero_()
    for colour in range(_COLOURS):
        convolution.weight[2 * colour, colour, 1, 1] = 1.0
        convolution.weight[2 * colour + 1, colour, 1, 1] = -1.0
    convolution.bias[_CARRIED - 2] = _CONSTANT
    convolution.bias[_CARRIED - 1] = -_CONSTANT
    convolution.weight[_CARRIED:] *= _BRANCH_SHARE


def _quieten(block: Any) -> None:
    block.conv2.weight *= _BRANCH_SHARE
    block.conv2.weight[:_CARRIED].zero_()
    block.conv2.bias[:_CARRIED].zero_()
    if block.conv_shortcut is not None:
        _carry(block.conv_shortcut)
        _spread(block.conv_shortcut, slice(0, 1), 1.0)


def _carry(convolution: Any) -> None:
    convolution.weight[:_CARRIED].zero_()
    convolution.bias[:_CARRIED].zero_()


def _spread(convolution: Any, taps: slice, share: float) -> None:
    for channel in range(_CARRIED):
        convolution.weight[channel, channel, taps, taps] = share


def _close_stream(norm: nn.GroupNorm, convolution: Any) -> None:
    channels = norm.num_channels
    # Over all channels the deviation is about K * sqrt(2 / channels); the gain takes it back.
    gain = _CONSTANT * (2 / channels) ** 0.5
    norm.weight.fill_(gain)
    norm.bias.zero_()
    convolution.bias.zero_()
    convolution.weight[:_COLOURS].zero_()
    for colour in range(_COLOURS):
        convolution.weight[colour, 2 * colour, 1, 1] = 1.0
        convolution.weight[colour, 2 * colour + 1, 1, 1] = -1.0
