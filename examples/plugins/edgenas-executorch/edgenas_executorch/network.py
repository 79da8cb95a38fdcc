"""A graph as the torch module that is exported: folded, channels first from end to end."""

from __future__ import annotations

from torch import Tensor, nn

from edgenas.core.ops import Graph
from edgenas.lowering.torch import from_folded, run_graph
from edgenas.lowering.weights import Weights


class Network(nn.Module):
    """A graph without batch norms.

    `GraphModule` itself rearranges images to channels last; here XNNPACK does so, inside.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        super().__init__()
        self.inner = from_folded(graph, weights)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits, shape (1, n_classes), for one image."""
        return run_graph(self.inner.graph, self.inner.tensors(), image, training=False)
