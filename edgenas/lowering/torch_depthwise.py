"""Depthwise convolution whose gradients take the fast kernels of oneDNN on x86 CPUs."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# oneDNN 3.12 has a vectorised weight gradient for depthwise kernels that are at most 3 wide, and
# else falls back to a grouped convolution that treats each channel alone: 96 channels, 14 x 14,
# batch 32 on one Zen 4 core took 5.5 ms for a 5 x 5 kernel and 0.28 ms for a 5 x 3 one. So the
# gradient of a wide kernel is put together from strips of its columns. Strips of one column
# (with stride 2) and padding that oneDNN applies itself (on small maps) meet the fallback too.
_STRIPS = {5: (3, 2), 7: (3, 2, 2)}


def depthwise_conv2d(images: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """Return the depthwise convolution of `images`, padded by half the kernel.

    Args:
        images: shape (n, channels, height, width), channels last.
        weight: shape (channels, 1, kernel, kernel), kernel odd.
        stride: in both directions.
    """
    mixed = torch.is_autocast_enabled("cpu")  # kernels of float32 alone are put together below
    if images.device.type != "cpu" or mixed or not torch.is_grad_enabled():
        return _forward(images, weight, stride)
    result: Tensor = _Depthwise.apply(images, weight, stride)  # type: ignore[no-untyped-call]
    return result


def _forward(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    padding = weight.shape[-1] // 2
    return functional.conv2d(images, weight, None, stride, padding, 1, weight.shape[0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return _forward(images, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        images_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            images_gradient = _images_gradient(gradient, images, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            weight_gradient = _weight_gradient(gradient, images, weight, ctx.stride)
        return images_gradient, weight_gradient, None


def _images_gradient(gradient: Tensor, images: Tensor, weight: Tensor, stride: int) -> Tensor:
    if stride == 1:  # the correlation with the mirrored kernel, which has the faster code
        return _forward(gradient, weight.flip(2, 3), 1)
    padding = [weight.shape[-1] // 2] * 2
    return _backward(gradient, images, weight, stride, padding, wanted=0)


def _weight_gradient(gradient: Tensor, images: Tensor, weight: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[-1]
    if kernel not in _STRIPS:
        return _backward(gradient, images, weight, stride, [kernel // 2] * 2, wanted=1)
    strips = torch.split_with_sizes(weight, _STRIPS[kernel], 3)
    firsts = accumulate((0, *_STRIPS[kernel][:-1]))
    parts = [
        _strip_gradient(gradient, images, strip, stride, first)
        for strip, first in zip(strips, firsts, strict=True)
    ]
    return torch.cat(parts, dim=3)


def _strip_gradient(
    gradient: Tensor, images: Tensor, strip: Tensor, stride: int, first: int
) -> Tensor:
    """Return the gradient of the kernel's columns from `first` on; `strip` gives their shape."""
    padding = strip.shape[2] // 2
    height, width = images.shape[2:]
    # The image rows and columns under the strip, from its first output to its last.
    left = first - padding
    right = left + (gradient.shape[3] - 1) * stride + strip.shape[3] - 1
    bottom = (gradient.shape[2] - 1) * stride + padding
    if right < 0 or left >= width:  # nothing but padding
        return torch.zeros_like(strip)
    seen = functional.pad(images, (-left, right - (width - 1), padding, bottom - (height - 1)))
    return _backward(gradient, seen, strip, stride, [0, 0], wanted=1)


def _backward(  # noqa: PLR0913
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: int,
    padding: list[int],
    *,
    wanted: int,
) -> Tensor:
    """Return one of PyTorch's own gradients: of the images (0) or of the weight (1)."""
    mask = [wanted == 0, wanted == 1, False]
    groups = weight.shape[0]
    gradients = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], groups, mask
    )
    result: Tensor = gradients[wanted]
    return result
