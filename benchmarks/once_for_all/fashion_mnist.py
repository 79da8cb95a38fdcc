"""Once-for-all on Fashion-MNIST: subnets against the same networks and MobileNets trained alone.

Steps, each of which goes on where it was stopped: ``families`` trains the MobileNets alone,
``shrink`` the supernet by its phases, ``front`` searches it, ``judge`` evaluates and fine-tunes the
eight subnets, ``alone`` trains the same architectures alone, ``latency`` times everything on both
runtimes, ``summary`` writes the figures and the plots. Several processes can share a step.

What is finished is committed with the results, so that its hours need not be spent again;
``--work`` with an empty folder begins anew.

    python -m benchmarks.once_for_all.fashion_mnist --threads 2 shrink
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.once_for_all.fashion_latency import latencies
from benchmarks.once_for_all.fashion_networks import Work
from benchmarks.once_for_all.fashion_plots import write
from benchmarks.once_for_all.fashion_subnets import find_front, judge, shrink, subnets
from benchmarks.once_for_all.fashion_summary import RUNTIMES, summary
from edgenas.core.files import write_json

RESULTS = Path(__file__).parent / "results"
STEPS = ("families", "shrink", "front", "judge", "alone", "latency", "summary")


def main() -> None:
    """Carry out one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--work", type=Path, default=RESULTS / "fashion_mnist")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--share", type=int, default=0, help="which of several such processes")
    parser.add_argument("--n-shares", type=int, default=1)
    options = parser.parse_args()
    work = Work(options.work, options.data, options.threads)
    own = slice(options.share, None, options.n_shares)
    match options.step:
        case "families":
            for network in work.families()[own]:
                work.train_alone(network)
        case "alone":
            for network in subnets(work)[own]:
                work.train_alone(network)
        case "shrink":
            shrink(work)
        case "front":
            find_front(work)
        case "judge":
            judge(work)
        case "latency":
            every = [*subnets(work), *work.families()]
            found = {runtime: latencies(every, runtime) for runtime in RUNTIMES}
            write_json(work.folder / "latency.json", found)
        case "summary":
            figures = summary(work)
            write_json(RESULTS / "fashion_mnist.json", figures)
            write(figures, RESULTS)


if __name__ == "__main__":
    main()
