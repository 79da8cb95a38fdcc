"""Sums of blocks that were timed alone against whole networks, calibrated across networks.

Every block of 15-18 Keras networks was timed as a model of its own on three devices, and so were
the whole networks. Each network is predicted from what the device's *other* networks taught:

- `sum_same_run`: the plain sum that the source printed in the same run;
- `sum`: the plain sum of the blocks in the file (for docker-asus and bonarda of another run);
- `scale`: the sum times the median ratio of the other networks;
- `calibrated`: `edgenas.costs.fit.fit_prior` with the blocks' own times as the prior and, as in
  `edgenas.costs.calibration`, a common factor, a factor a kind of block, a price of every border
  (a constant, and one a MB of output) and each block's own correction.

On jetsonnano the two VGG networks ran eight times slower whole than in parts, by want of memory (so
the data's description); the figures without them stand beside.

    EDGENAS_BENCH_DATA=... python -m benchmarks.costs.published.scission
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs.published.data import Floats, read_csv
from benchmarks.program import main
from edgenas.costs.accuracy import error_report
from edgenas.costs.fit import fit_prior
from edgenas.costs.regression import NOISE, Amplitude, Prior, design_of

RESULTS = Path(__file__).parent / "results" / "scission.json"
_AMPLITUDES = {
    "common": Amplitude(0.05, 1e-3, 1, 0.5),
    "kind": Amplitude(0.03, 1e-3, 1, 0.5),
    "own": Amplitude(0.03, 1e-3, 0.5, 0.5),
    NOISE: Amplitude(0.03, 1e-3, 0.5, 0.5),
}
_BORDER = 0.05  # price of a border a priori, of a typical block
_LEAST_MS = 1e-3  # an input layer takes no time; a prior mean is above 0


class Device:
    """Blocks and networks of one device.

    `block_ms`, `output_mb`, `kinds`: of all blocks; `counts`: which network has which block,
    shape (n_networks, n_blocks); `whole_ms`, `printed_ms`: of networks.
    """

    def __init__(self, name: str) -> None:
        rows = read_csv("scission_block_vs_e2e/e2e_vs_sum.csv")
        rows = [row for row in rows if row["device"] == name]
        self.models = [row["model"] for row in rows]
        self.whole_ms = np.array([float(row["e2e_ms"]) for row in rows])
        self.printed_ms = np.array([float(row["sum_blocks_ms_log"]) for row in rows])
        blocks = [
            row
            for row in read_csv("scission_block_vs_e2e/block_times.csv.gz")
            if row["device"] == name and row["model"] in self.models
        ]
        self.block_ms = np.maximum([float(row["time_ms"]) for row in blocks], _LEAST_MS)
        self.output_mb = np.array([float(row["output_MB"]) for row in blocks])
        self.kinds = [_kind(row["layer_types"]) for row in blocks]
        self.counts = np.zeros((len(rows), len(blocks)))
        for j, row in enumerate(blocks):
            self.counts[self.models.index(row["model"]), j] = 1

    def prior(self, ratio: float) -> Prior:
        """Return what is believed of blocks inside networks that take `ratio` times the sum."""
        n, mean = len(self.block_ms), ratio * self.block_ms
        outer = np.outer(mean, mean)
        kinds = np.array(self.kinds)
        parts = {
            "common": outer,
            "kind": outer * (kinds[:, None] == kinds[None]),
            "own": np.diag(mean**2),
        }
        typical = float(np.median(mean))
        borders = np.zeros((n + 1, 3))
        borders[0, 0] = 0.02 * float((self.counts @ mean).mean())
        borders[1:, 1] = _BORDER * typical
        borders[1:, 2] = (
            _BORDER * typical * self.output_mb / max(float(self.output_mb.mean()), 1e-9)
        )
        return Prior(
            mean_ms=np.concatenate([[0.0], mean]),
            given=borders @ borders.T,
            parts={name: np.pad(part, ((1, 0), (1, 0))) for name, part in parts.items()},
            amplitudes=_AMPLITUDES,
        )


def _kind(layer_types: str) -> str:
    """Return what a block is by its heaviest kind of layer."""
    order = ("DepthwiseConv2D", "SeparableConv2D", "Conv2D", "Dense", "BatchNormalization")
    return next((kind for kind in order if kind in layer_types), "other")


def left_out(device: Device) -> dict[str, Floats]:
    """Return predictions of every network from the others, by way."""
    sums, whole = device.counts @ device.block_ms, device.whole_ms
    scaled, calibrated = np.empty((2, len(whole)))
    for i in range(len(whole)):
        seen = np.arange(len(whole)) != i
        ratio = float(np.median(whole[seen] / sums[seen]))
        scaled[i] = sums[i] * ratio
        design = design_of(device.counts[seen], whole[seen])
        fitted = fit_prior(device.prior(ratio), design, whole[seen])
        calibrated[i] = fitted.predict(device.counts[~seen])[0]
    return {
        "sum_same_run": device.printed_ms,
        "sum": sums,
        "scale": scaled,
        "calibrated": calibrated,
    }


def figures(measured: Floats, predicted: Floats) -> dict[str, float]:
    """Return what there is to say about a handful of networks."""
    report = error_report(measured, predicted)
    errors = np.abs(predicted / measured - 1)
    return {
        "mape": report.mape,
        "median": round(float(np.median(errors)), 6),
        "greatest": round(float(errors.max()), 6),
        "bias": report.bias,
        "spearman": report.spearman,
    }


def run() -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    results: dict[str, Any] = {}
    for name in ("jetsonnano", "docker-asus", "bonarda"):
        device = Device(name)
        ways = left_out(device)
        results[name] = {
            "n_networks": len(device.models),
            "all": {way: figures(device.whole_ms, p) for way, p in ways.items()},
        }
        if name == "jetsonnano":
            fits = np.array([not model.startswith("vgg") for model in device.models])
            measured = device.whole_ms[fits]
            kept = {way: figures(measured, p[fits]) for way, p in ways.items()}
            results[name]["without_vgg"] = kept
    return {
        "devices": results,
    }


if __name__ == "__main__":
    main(run, doc=__doc__, out=RESULTS)
