"""A torch network with batch norms, exported to every target, on real digits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from edgenas import spaces
from edgenas.core.counts import n_macs
from edgenas.exporters import ExportRequest, get
from edgenas.exporters.validate import validate
from edgenas.lowering.optimised_onnx import onnx_operators
from edgenas.lowering.optimised_tflite import tflite_operators
from edgenas.lowering.torch import GraphModule, folded_weights


@pytest.fixture(scope="module", params=["mbv3_tiny", "resnet_tiny"])
def trained(request: pytest.FixtureRequest) -> ExportRequest:
    """A network whose batch norms have seen digits; its test part is the last 200 of them."""
    space = spaces.get(request.param, input_channels=1)
    graph = space.network(space.canonical(space.sample(1, np.random.default_rng(2)))[0])
    torch.manual_seed(0)
    module = GraphModule(graph)
    digits = load_digits()
    factor = graph.in_shape[1] // 8
    pixels = np.kron(digits.images[:800] / 16, np.ones((1, factor, factor)))
    border = graph.in_shape[1] - pixels.shape[1]
    pixels = np.pad(pixels, ((0, 0), (0, border), (0, border)))
    images = ((pixels[:, np.newaxis] - 0.3) / 0.35).astype(np.float32)
    with torch.no_grad():
        for batch in np.split(images[:600], 6):
            module(torch.from_numpy(batch))
        module.eval()
        logits = module(torch.from_numpy(images[600:])).numpy()
    labels = digits.target[600:800]
    return ExportRequest(
        graph=graph,
        weights=folded_weights(module),
        mean=(0.3,),
        std=(0.35,),
        class_names=tuple(map(str, digits.target_names)),
        reference_inputs=images[600:664],
        reference_logits=logits[:64],
        test_images=images[600:],
        test_labels=labels,
        test_accuracy=float((logits.argmax(axis=1) == labels).mean()),
    )


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_file_is_the_network(trained: ExportRequest, target: str, tmp_path: Path) -> None:
    exporter = get(target)
    artifact = exporter.export(trained, tmp_path / f"model{exporter.suffix}")
    checks = {check.name: check for check in validate(exporter, trained, artifact)}
    assert all(check.passed for check in checks.values())
    measured = checks["values"].measured
    assert measured is not None
    assert 0 < measured <= 1e-5
    operators = {"onnx": onnx_operators, "tflite": tflite_operators}[target]
    execution = operators(artifact.path.read_bytes())
    assert execution.n_macs == n_macs(trained.graph)
    assert execution.outside == ()
