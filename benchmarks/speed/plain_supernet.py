"""A plain once-for-all supernet to measure against: what one writes first.

Convolutions as ``torch.nn.functional`` gives them, tensors in NCHW order, slices of the shared
weights copied to tensors of their own, gradients by ``loss.backward()``, and torch's own threads
inside each operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgenas.core.ops import OpSpec
from edgenas.spaces.blocks import make_divisible

Parts = Sequence[tuple[str, OpSpec]]

_ACTIVATIONS = {"relu": functional.relu, "h_swish": functional.hardswish}


class PlainSupernet:
    """The networks of the MobileNetV3 spaces, over shared weights by name."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = {
            name: value.detach().clone().contiguous().requires_grad_()
            for name, value in weights.items()
        }

    def __call__(self, images: Tensor, parts: Parts) -> Tensor:
        """Return the logits of one architecture, batch norms using the batch's statistics."""
        values = images
        for name, op in parts:
            prefix = name.replace(".", "/") + "."
            values = getattr(self, f"_{op.kind}")(values, op, prefix)
        return values

    def _conv_block(self, values: Tensor, op: OpSpec, prefix: str) -> Tensor:
        function, stride = str(op["activation"]), op.integer("stride")
        return self._layer(values, f"{prefix}conv", op.integer("out_channels"), stride, function)

    def _mbconv(self, values: Tensor, op: OpSpec, prefix: str) -> Tensor:
        mid, stride, function = (
            op.integer("mid_channels"),
            op.integer("stride"),
            str(op["activation"]),
        )
        inputs = values
        if mid != values.shape[1]:
            values = self._layer(values, f"{prefix}expand", mid, 1, function)
        weight = self._depthwise_weight(prefix, mid, op.integer("kernel"))
        padding = weight.shape[-1] // 2
        values = functional.conv2d(values, weight, None, stride, padding, 1, mid)
        values = _ACTIVATIONS[function](self._norm(values, f"{prefix}depthwise"))
        if op["se"]:
            gate = functional.adaptive_avg_pool2d(values, 1)
            squeezed = make_divisible(mid // 4)
            gate = functional.relu(self._biased(gate, f"{prefix}se_reduce", squeezed))
            gate = functional.hardsigmoid(self._biased(gate, f"{prefix}se_expand", mid))
            values = values * gate
        values = self._layer(values, f"{prefix}project", op.integer("out_channels"), 1, "")
        return values + inputs if values.shape == inputs.shape and stride == 1 else values

    def _mbv3_head(self, values: Tensor, op: OpSpec, prefix: str) -> Tensor:
        values = self._layer(
            values, f"{prefix}final_expand", op.integer("final_channels"), 1, "h_swish"
        )
        values = functional.adaptive_avg_pool2d(values, 1)
        weight = self.weights[f"{prefix}feature_mix.weight"]
        values = functional.hardswish(functional.conv2d(values, weight))
        weight, bias = (self.weights[f"{prefix}classifier.{key}"] for key in ("weight", "bias"))
        return functional.linear(values.flatten(1), weight, bias)

    def _layer(self, values: Tensor, name: str, n_out: int, stride: int, function: str) -> Tensor:
        weight = self.weights[f"{name}.weight"][:n_out, : values.shape[1]].contiguous()
        values = functional.conv2d(values, weight, None, stride, weight.shape[-1] // 2)
        values = self._norm(values, name)
        return _ACTIVATIONS[function](values) if function else values

    def _norm(self, values: Tensor, name: str) -> Tensor:
        n = values.shape[1]
        weight = self.weights[f"{name}.norm.weight"][:n].contiguous()
        bias = self.weights[f"{name}.norm.bias"][:n].contiguous()
        return functional.batch_norm(values, None, None, weight, bias, training=True)

    def _biased(self, values: Tensor, name: str, n_out: int) -> Tensor:
        weight = self.weights[f"{name}.weight"][:n_out, : values.shape[1]].contiguous()
        return functional.conv2d(values, weight, self.weights[f"{name}.bias"][:n_out].contiguous())

    def _depthwise_weight(self, prefix: str, mid: int, kernel: int) -> Tensor:
        weight = self.weights[f"{prefix}depthwise.weight"][:mid].contiguous()
        while weight.shape[-1] > kernel:
            smaller = weight.shape[-1] - 2
            cropped = weight[..., 1:-1, 1:-1].contiguous()
            matrix = self.weights[f"{prefix}kernel_transform_{smaller}"]
            weight = functional.linear(cropped.view(mid, -1), matrix)
            weight = weight.view(mid, 1, smaller, smaller)
        return weight


def plain_step(  # noqa: PLR0913
    supernet: PlainSupernet,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    subnets: Sequence[Parts],
    opinion: Tensor | None,
) -> float:
    """Do one step and return the mean loss of `subnets`, against labels and a teacher's logits."""
    optimiser.zero_grad()
    losses = []
    for parts in subnets:
        logits = supernet(images, parts)
        loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
        if opinion is not None:
            loss = loss + functional.cross_entropy(logits, opinion.softmax(1))
        loss.backward()
        losses.append(float(loss.detach()))
    torch.nn.utils.clip_grad_norm_(supernet.weights.values(), 5.0)
    optimiser.step()
    return sum(losses) / len(losses)
