"""Group normalisation whose backward pass is fast on a CPU in channels-last layout.

PyTorch's own backward pass takes half of all training time there: it walks channels-last memory across the grain.
Modules keep their parameters and names, so that checkpoints are those of the plain classes.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
import torch._inductor.config
from torch import nn

# One kernel is compiled for each shape that a network has; the default limit of 8 is less than that.
torch._dynamo.config.recompile_limit = 128  # noqa: SLF001 - the documented place of the setting
# Kernels with threads would load a second OpenMP runtime beside torch's, and the two starve each other.
torch._inductor.config.cpp.threads = 1  # noqa: SLF001 - as above
_IMAGE_DIMENSIONS = 4


class _ChannelsLastGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float) -> Any:
        batch, channels, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        out, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels, height, width = x.shape
        dx, grad_weight, grad_bias = _backward(_rows(grads[0]), _rows(x), weight, mean.float(), rstd.float())
        return dx.view(batch, height, width, channels).permute(0, 3, 1, 2), grad_weight, grad_bias, None, None


@torch.compile(dynamic=False)
def _backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the gradients of x, weight and bias; dy and x are (batch, cells, channels).

    With m and r the mean and reciprocal deviation of a group of n numbers, y = (x - m) r w + b, and
    dx = r w dy - (r/n) [sum(w dy) + (x - m) r^2 sum(w dy (x - m))]: dx = p dy + q x + s with one p, q and s for each
    channel of each sample.
    """
    batch, cells, channels = x.shape
    groups = mean.shape[1]
    count = cells * (channels // groups)
    xs, dys = (rows.float().view(batch, cells, groups, -1) for rows in (x, dy))
    sum_dy, sum_dyx = dys.sum(1), (dys * xs).sum(1)
    w, m, r = weight.float().view(groups, -1), mean[:, :, None], rstd[:, :, None]
    grad_weight = ((sum_dyx - m * sum_dy) * r).sum(0).view(channels)
    group_dy = (sum_dy * w).sum(-1, keepdim=True)
    group_dyx = (sum_dyx * w).sum(-1, keepdim=True) - m * group_dy
    q = -r * r * r * group_dyx / count
    s = -r * group_dy / count - q * m
    dx = dys * (r * w)[:, None] + xs * q[:, None] + s[:, None]
    return dx.view(batch, cells, channels).to(dy.dtype), grad_weight, sum_dy.sum(0).view(channels)


class FastGroupNorm(nn.GroupNorm):
    """A GroupNorm that computes as torch's does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """Returns the input, (batch, channels, height, width), normalised by group."""
        if input.dim() != _IMAGE_DIMENSIONS or not torch.is_grad_enabled():
            return super().forward(input)
        apply: Callable[..., torch.Tensor] = _ChannelsLastGroupNorm.apply
        return apply(input, self.weight, self.bias, self.num_groups, self.eps)


def use_fast_group_norm(module: nn.Module) -> None:
    """Makes every GroupNorm of a module a FastGroupNorm; its parameters stay the same objects."""
    for child in module.modules():
        if type(child) is nn.GroupNorm:
            child.__class__ = FastGroupNorm


def _rows(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 2, 3, 1).contiguous().flatten(1, 2)
