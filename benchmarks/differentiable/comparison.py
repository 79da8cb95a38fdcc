"""Which way of using one supernet finds the better networks in the same time.

FBNet, ProxylessNAS, the selection of once-for-all, and random search, on Fashion-MNIST with this
machine's table, in ``mbv3_tiny`` and the FBNet-like ``fbnet_tiny``. All have the same supernet
(weights shared wherever they can be), the same images and, for training it, choosing and all, the
same time on one core; the last two share one training. Each picks the best network within three
latencies by the validation images. Every pick is then fine-tuned from its supernet, and trained
alone from fresh weights, by the same recipes, judged on the test images, and timed as a whole.

Steps, each of which goes on where it was stopped: ``pace`` (how long steps take), ``search``,
``final``, ``latency``, ``summary``; the first three are for two processes at once, one a core.

    python -m benchmarks.differentiable.comparison search --share 0 --n-shares 2
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from benchmarks.differentiable.common import measured_ms
from benchmarks.differentiable.comparison_final import finish
from benchmarks.differentiable.comparison_runs import (
    SEEDS,
    SPACES,
    TRAININGS,
    Folder,
    measure_pace,
    run,
)
from benchmarks.differentiable.comparison_summary import write
from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json

RESULTS = Path(__file__).parent / "results" / "comparison"
STEPS = ("pace", "search", "final", "latency", "summary")


def main() -> None:
    """Carry out one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--work", type=Path, default=Path("runs/differentiable"))
    parser.add_argument("--share", type=int, default=0, help="which of several such processes")
    parser.add_argument("--n-shares", type=int, default=1)
    options = parser.parse_args()
    folder = Folder(RESULTS, options.work)
    # Seed by seed, so that what is there after a while is whole.
    every = [(space, seed, kind) for seed, space, kind in product(SEEDS, SPACES, TRAININGS)]
    own = every[options.share :: options.n_shares]
    match options.step:
        case "pace":
            for space, _, kind in own:
                measure_pace(folder, space, kind)
        case "search":
            for one in own:
                run(folder, *one)
        case "final":
            for one in own:
                finish(folder, *one)
        case "latency":
            for name in SPACES:
                picks = [pick for result in folder.results(name) for pick in result["picks"]]
                found = measured_ms(spaces.get(name), (tuple(pick["genes"]) for pick in picks))
                timed = [{"genes": list(row), "latency_ms": ms} for row, ms in found.items()]
                content = {"networks": timed, "environment": environment()}
                write_json(RESULTS / f"latency-{name}.json", content)
        case "summary":
            write(folder)


if __name__ == "__main__":
    main()
