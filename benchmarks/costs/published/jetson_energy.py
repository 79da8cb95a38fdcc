"""Latency and energy of convolutional networks on a Jetson Nano from their layers alone.

12,534 networks with TensorRT; the names tell the layers, and the counts of parameters prove that
they are read right (every one is compared). A layer's cost is a price a driver (MACs by kind,
values moved, weights, a constant) times one plus a smooth function of its shape: a Gaussian
process, written with 150 landmark layers (Williams & Seeger 2001), so a network's time is linear in
features that add over its layers, and `edgenas.costs.fit.fit_prior` fits them.

200 or 1,000 networks are for training, drawn at random; all others of the group are the test.
Groups: `plain` (one kernel size), `separable`, `mixed` (two sizes), and `all`. Targets:

- `latency_ms` (latency pass);
- `gpu_energy_mj`, `board_energy_mj` fitted `direct`ly, or as `modelled`: fitted latency by kind of
  layer times a power a kind, prices from the same training networks.

Energies contain idle power, as the source measured them. The noise ceiling is the time of the same
networks in the power pass against the latency pass.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.jetson_energy
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from benchmarks.costs.published.data import Floats, read_csv
from benchmarks.program import main
from edgenas.core.errors import UsageError
from edgenas.costs.accuracy import error_report
from edgenas.costs.features import driven_prior
from edgenas.costs.fit import Fitted, fit_prior
from edgenas.costs.regression import NOISE, Amplitude, Prior, design_of

SIZES = (200, 1000)
TARGETS = {
    "latency_ms": "latency_ms",
    "gpu_energy_mj": "gpu_energy_mJ",
    "board_energy_mj": "board_energy_mJ",
}
N_CLASSES, N_LANDMARKS = 10, 150
KINDS = ("conv", "depthwise", "pointwise", "linear")
RESULTS = Path(__file__).parent / "results" / "jetson_energy.json"
_AMPLITUDES = {
    "base": Amplitude(0.2, 1e-3, 2, 1.5),
    "shape": Amplitude(0.2, 1e-3, 5, 1.5),
    "overhead": Amplitude(0.05, 1e-3, 1, 1.5),
    NOISE: Amplitude(0.03, 1e-4, 0.5, 1.5),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; sizes are heights, which equal widths."""

    kind: str
    kernel: int
    inputs: int
    outputs: int
    in_size: int
    size: int

    @property
    def n_params(self) -> int:
        """Weights and biases."""
        if self.kind == "depthwise":
            return self.kernel**2 * self.inputs + self.inputs
        if self.kind == "linear":
            return self.inputs * self.in_size**2 * self.outputs + self.outputs
        return self.kernel**2 * self.inputs * self.outputs + self.outputs

    @property
    def n_macs(self) -> int:
        """Multiply-accumulates."""
        if self.kind == "linear":
            return self.inputs * self.in_size**2 * self.outputs
        channels = 1 if self.kind == "depthwise" else self.inputs
        return self.kernel**2 * channels * self.outputs * self.size**2

    @property
    def n_moved(self) -> int:
        """Values read and written."""
        return self.inputs * self.in_size**2 + self.outputs * self.size**2

    def drivers(self) -> list[float]:
        """Return what the cost grows with: MACs by kind, traffic, weights, a layer."""
        by_kind = [float(self.n_macs * (self.kind == kind)) for kind in KINDS]
        return [*by_kind, float(self.n_moved), float(self.n_params), 1.0]

    def features(self) -> list[float]:
        """Return what makes layers alike."""
        shape = [log(self.inputs), log(self.outputs), log(self.in_size), log(self.n_macs)]
        return [*shape, float(self.kernel), 10.0 * KINDS.index(self.kind)]


def parse(name: str) -> list[Layer]:
    """Return the layers of a network by its name.

    Padding is as the parameter counts show it. Separable networks pad by half the kernel (by 2
    where it is 2). Others pad by 2 if all kernels are even, else by 1, but by 2 in the first
    layer if its kernel is even.
    """
    found = re.search(r"_L(\d+)_F(\d+)(.*)_W(\d+)", name)
    if found is None:
        raise UsageError(f"not a network's name: {name}")
    n_layers, filters, size = int(found[1]), int(found[2]), int(found[4])
    runs = re.findall(r"_K(\d+)x\d+(?:_(\d+))?(?=_|$)", found[3])
    kernels = [int(k) for k, n in runs for _ in range(int(n) if n else n_layers)]
    separable, channels = name.endswith("DWS"), 3
    layers: list[Layer] = []
    all_even = all(kernel % 2 == 0 for kernel in kernels)
    for place, kernel in enumerate(kernels):
        pad = 2 if all_even or (place == 0 and kernel % 2 == 0) else 1
        if separable:
            pad = 2 if kernel == 2 else max(kernel // 2, 1)
        out = size + 2 * pad - kernel + 1
        if separable:
            layers.append(Layer("depthwise", kernel, channels, channels, size, out))
            layers.append(Layer("pointwise", 1, channels, filters, out, out))
        else:
            layers.append(Layer("conv", kernel, channels, filters, size, out))
        size, channels = out, filters
    layers.append(Layer("linear", 1, channels, N_CLASSES, size, 1))
    return layers


class Jetson:
    """All networks: sums over their layers, and what was measured."""

    def __init__(self) -> None:
        rows = read_csv("jetson_nano_energy/jetson_nano_trt_cnn_latency_energy.csv.gz")
        self.networks = [parse(row["model_name"]) for row in rows]
        for row, layers in zip(rows, self.networks, strict=True):
            n_params = sum(layer.n_params for layer in layers)
            if n_params != int(float(row["params"])):
                raise UsageError(f"{row['model_name']} has {row['params']} parameters: {n_params}")
        self.measured = {
            name: np.array([float(row[column]) for row in rows]) for name, column in TARGETS.items()
        }
        self.again_ms = np.array([float(row["latency_power_pass_ms"]) for row in rows])
        groups = np.array([row["group"] for row in rows])
        plain = ("conv_layers", "misc", "expanded")
        self.groups = {
            "plain": np.flatnonzero([group.startswith(plain) for group in groups]),
            "separable": np.flatnonzero([group.startswith("dws") for group in groups]),
            "mixed": np.flatnonzero([group.startswith("mixed") for group in groups]),
            "all": np.arange(len(groups)),
        }
        self.layers = sorted({layer for one in self.networks for layer in one}, key=repr)
        place = {layer: j for j, layer in enumerate(self.layers)}
        self.members = [np.array([place[layer] for layer in one]) for one in self.networks]
        self.drivers = np.array([layer.drivers() for layer in self.layers])
        features = np.array([layer.features() for layer in self.layers])
        features[:, :4] /= features[:, :4].std(axis=0)
        self.shapes = landmarks(features)

    def add_up(self, rows: np.ndarray, values: Floats) -> Floats:
        """Return sums over the layers of some networks, shape (n, ...)."""
        return np.array([values[self.members[i]].sum(axis=0) for i in rows])


def landmarks(features: Floats) -> Floats:
    """Return features whose inner products are about the layers' similarity, (n, n_landmarks)."""
    chosen = np.random.default_rng(0).choice(len(features), N_LANDMARKS, replace=False)
    points = features[chosen]
    own = np.exp(-0.5 * cdist(points, points, "sqeuclidean")) + 1e-6 * np.eye(N_LANDMARKS)
    cross = np.exp(-0.5 * cdist(features, points, "sqeuclidean"))
    return np.asarray(cross @ np.linalg.inv(np.real(sqrtm(own))), dtype=np.float64)


class Model:
    """Costs of layers fitted to whole networks; predicts any network."""

    def __init__(self, data: Jetson, rows: np.ndarray, measured: Floats) -> None:
        self.data = data
        totals = data.add_up(rows, data.drivers)
        prices, overhead = driven_prior(np.eye(data.drivers.shape[1]), totals, measured)
        self.layer_prior = data.drivers @ prices
        prior = self._prior(overhead, float(np.median(measured)))
        self.fitted: Fitted = fit_prior(prior, design_of(self.columns(rows), measured), measured)

    def columns(self, rows: np.ndarray) -> Floats:
        """Return what a network's cost is linear in, shape (n, 1 + n_landmarks)."""
        values = self.layer_prior[:, None] * np.column_stack(
            [np.ones(len(self.layer_prior)), self.data.shapes]
        )
        return self.data.add_up(rows, values)

    def _prior(self, overhead: float, typical: float) -> Prior:
        size = 2 + N_LANDMARKS
        diagonal = {name: np.zeros(size) for name in ("overhead", "base", "shape")}
        diagonal["overhead"][0] = typical**2
        diagonal["base"][1] = 1
        diagonal["shape"][2:] = 1
        return Prior(
            mean_ms=np.concatenate([[overhead, 1.0], np.zeros(N_LANDMARKS)]),
            given=np.zeros((size, size)),
            parts={name: np.diag(part) for name, part in diagonal.items()},
            amplitudes=_AMPLITUDES,
        )

    def predict(self, rows: np.ndarray) -> Floats:
        """Return predicted costs, shape (n,)."""
        return np.maximum(self.fitted.predict(self.columns(rows)), 1e-6)

    def by_kind(self, rows: np.ndarray) -> Floats:
        """Return predicted costs by kind of layer and the overhead, (n, n_kinds + 1)."""
        values = np.column_stack([np.ones(len(self.layer_prior)), self.data.shapes])
        cost = self.layer_prior * (values @ self.fitted.cost_ms)
        kind = np.array([[layer.kind == k for k in KINDS] for layer in self.data.layers])
        parts = self.data.add_up(rows, cost[:, None] * kind)
        return np.column_stack([parts, np.full(len(rows), self.fitted.overhead_ms)])


def modelled(latency: Model, train: np.ndarray, test: np.ndarray, energy: Floats) -> Floats:
    """Return energies as latency by kind times a power a kind, learned from `train`."""
    parts = np.maximum(latency.by_kind(train), 0)
    powers, _ = nnls(parts / energy[train][:, None], np.ones(len(train)))
    return np.maximum(latency.by_kind(test), 0) @ powers


def figures(measured: Floats, predicted: Floats) -> dict[str, float]:
    """Return errors in short."""
    report = error_report(measured, predicted)
    return {
        "mape": report.mape,
        "median": round(float(np.median(np.abs(predicted / measured - 1))), 6),
        "within_10_percent": report.within_10_percent,
        "spearman": report.spearman,
    }


def one_group(data: Jetson, rows: Sequence[int] | np.ndarray, size: int, seed: int) -> Any:
    """Return errors for a group and a number of training networks."""
    order = np.random.default_rng(seed).permutation(np.asarray(rows))
    train, test = order[:size], order[size:]
    result: dict[str, Any] = {}
    models = {name: Model(data, train, data.measured[name][train]) for name in TARGETS}
    for name in TARGETS:
        measured = data.measured[name]
        result[name] = {"direct": figures(measured[test], models[name].predict(test))}
        if name != "latency_ms":
            predicted = modelled(models["latency_ms"], train, test, measured)
            result[name]["modelled"] = figures(measured[test], predicted)
    return {"n_test": len(test), **result}


def run() -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    data = Jetson()
    results = {
        group: {f"{size} for training": one_group(data, rows, size, 0) for size in SIZES}
        for group, rows in data.groups.items()
    }
    ceiling = {
        group: figures(data.again_ms[rows], data.measured["latency_ms"][rows])
        for group, rows in data.groups.items()
    }
    return {
        "n_networks": len(data.networks),
        "n_layers": len(data.layers),
        "noise_ceiling_of_latency": ceiling,
        "groups": results,
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS)
