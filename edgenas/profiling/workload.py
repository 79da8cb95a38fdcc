"""What a table needs timed: every operator of a space, sampled whole networks, an anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.core.artifact import FORMATS
from edgenas.core.counts import weight_bytes
from edgenas.core.errors import RegistryError, UsageError
from edgenas.core.ops import Graph, OpSpec
from edgenas.core.registry import Registry
from edgenas.costs.counts import operator_counts
from edgenas.costs.known import NOTHING_KNOWN, Known
from edgenas.lowering import onnx, tflite
from edgenas.lowering.weights import random_weights
from edgenas.runtimes.base import RUNTIMES
from edgenas.spaces.base import SearchSpace
from edgenas.spaces.blocks import expand
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import macs

LOWERINGS: Registry[Callable[..., bytes]] = Registry("lowering")
"""Model format to the function that writes a graph in it: ``(graph, weights, *, precision)``."""
LOWERINGS.add("onnx")(onnx.lower)
LOWERINGS.add("tflite")(tflite.lower)

ANCHOR = "anchor"
MISSING_NETWORKS = 60
"""Networks that calibrate a table most of whose operators are known."""

_VISIT_MACS = 5e8  # spent on the visits to one network, at least


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How much is timed for a table; `for_space` has the settings of benchmarks/costs.

    There are `n_sessions` measuring processes. Each times the same `n_session_networks` networks:
    what a process or a minute changes for all networks alike is seen there. The first `n_pools`
    of them share out the other networks and each time all operators. Visits are spaced so that no
    process is shorter than `least_session_s`: a machine stays in a slow state for seconds. The last
    process begins no earlier than `spread_s` after the first, the others evenly between: the level
    of a machine that others share moves within quarters of an hour.
    """

    n_networks: int = 200
    n_operator_visits: int = 20
    n_network_visits: int = 20
    n_pools: int = 4
    n_sessions: int = 8
    n_session_networks: int = 20
    least_session_s: int = 15
    spread_s: int = 0
    n_runs: int = 3
    n_warmup: int = 1
    anchor_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"n_networks": 20, "n_operator_visits": 2, "n_network_visits": 2, "n_runs": 1}
        least |= {"n_warmup": 0, "anchor_every": 1, "n_sessions": 2, "n_session_networks": 10}
        least |= {"least_session_s": 0, "spread_s": 0, "n_pools": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UsageError(f"{name} is {getattr(self, name)}; at least {value} are needed")

    @classmethod
    def for_space(cls, space: SearchSpace, **given: int) -> ProfileSettings:
        """Return what was given, the rest chosen by the size of the space's networks.

        Small networks are visited more often: the visits have to be spread over more than the
        seconds for which a machine stays in one state.
        """
        mean_macs = float(macs(space)(space.sample(256, np.random.default_rng(0))).mean())
        often = int(np.clip(_VISIT_MACS / mean_macs, 20, 100))
        chosen = {"n_network_visits": often, "n_operator_visits": max(20, often // 2), **given}
        return cls(**chosen)

    def processes(self, n_pools: int) -> int:
        """Return how many processes measure, if memory asks for `n_pools` pools."""
        return max(self.n_sessions, n_pools)

    def as_dict(self) -> dict[str, int]:
        """Return the settings by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Workload:
    """Operators and networks to time; keys are what the journal calls them.

    Operators in `known` are not timed again, but for some that show the machine's level.
    """

    space: SearchSpace
    ops: tuple[OpSpec, ...]
    networks: Genes
    known: Known = NOTHING_KNOWN

    @classmethod
    def of(
        cls, space: SearchSpace, settings: ProfileSettings, known: Known = NOTHING_KNOWN
    ) -> Workload:
        """Choose the calibration networks: deterministic in the space and the seed."""
        ops = tuple(space.distinct_ops())
        return cls(space, ops, calibration_networks(space, settings), known)

    @property
    def op_keys(self) -> list[str]:
        """Keys of the operators."""
        return [f"op:{op.key}" for op in self.ops]

    @property
    def timed_op_keys(self) -> list[str]:
        """Keys of the operators that are timed alone."""
        left = self.known.rows.keys() - set(self.known.retimed)
        return [f"op:{op.key}" for op in self.ops if op.key not in left]

    def session_rows(self, settings: ProfileSettings) -> list[int]:
        """Return which networks every process times, by number."""
        n = min(settings.n_session_networks, len(self.networks))
        rng = np.random.default_rng(settings.seed + 1)
        return sorted(rng.choice(len(self.networks), n, replace=False).tolist())

    def session_keys(self, settings: ProfileSettings, session: int) -> list[str]:
        """Return the keys under which process number `session` times the networks of all."""
        keys = self.network_keys
        return [f"{keys[i]}@{session}" for i in self.session_rows(settings)]

    @property
    def network_keys(self) -> list[str]:
        """Keys of the networks."""
        return [f"net:{arch.id}" for arch in self.space.architectures(self.networks)]

    def graph(self, key: str) -> Graph:
        """Return what is run under `key`, whatever the session."""
        key = key.partition("@")[0]
        if key == ANCHOR:
            return self.space.network(self.networks[len(self.networks) // 2])
        if key.startswith("op:"):
            return expand(self.ops[self.op_keys.index(key)])
        return self.space.network(self.networks[self.network_keys.index(key)])

    def graphs(self) -> Iterator[tuple[str, Graph]]:
        """Yield every (key, graph), the anchor first."""
        yield ANCHOR, self.graph(ANCHOR)
        for key, op in zip(self.op_keys, self.ops, strict=True):
            yield key, expand(op)
        for key, row in zip(self.network_keys, self.networks, strict=True):
            yield key, self.space.network(row)

    def counts(self) -> np.ndarray:
        """Return how often each network runs each operator, shape (n_networks, n_ops)."""
        return operator_counts(self.space, self.networks, self.ops)

    def pools(self, settings: ProfileSettings, limit_bytes: float) -> list[list[str]]:
        """Split the networks that not every process times at random into parts.

        There are `settings.n_pools` parts, or as many as it takes for the engines of each to fit
        in `limit_bytes` together with those that every process opens.
        """
        shared = set(self.session_rows(settings))
        # Engines keep the weights and a copy packed for their kernels, and activations.
        sizes = [3.0 * weight_bytes(self.space.network(row)) + 2**20 for row in self.networks]
        order = np.random.default_rng(settings.seed + 2).permutation(len(sizes))
        left = [int(i) for i in order if i not in shared]
        room = limit_bytes - sum(sizes[i] for i in shared)
        keys = self.network_keys
        n_pools = settings.n_pools
        while n_pools < len(left) and any(
            sum(sizes[i] for i in left[k::n_pools]) > room for k in range(n_pools)
        ):
            n_pools += 1
        return [[keys[i] for i in left[k::n_pools]] for k in range(n_pools)]


def calibration_networks(space: SearchSpace, settings: ProfileSettings) -> Genes:
    """Return distinct networks that cover the space, shape (n, n_genes).

    The two extremes; half with every gene uniform; half spread evenly over the range of MACs, so
    that the small and the large networks that searches like are inside what was measured.
    """
    rng = np.random.default_rng(settings.seed)
    n = settings.n_networks
    cost = macs(space)
    program = BudgetProgram(cost)
    (least, smallest), (greatest, largest) = program.least(), program.greatest()
    budgets = np.geomspace(least, greatest, n // 2 + 1)[1:].clip(least)  # it rounds
    spread = [program.sample(1, float(budget), rng) for budget in budgets]
    uniform = space.sample(2 * n, rng)
    candidates = np.concatenate([smallest[None], largest[None], *spread, uniform])
    _, first = np.unique(candidates, axis=0, return_index=True)
    return candidates[np.sort(first)][:n]


def model_bytes(
    graph: Graph, model_format: str, precision: str = "float32", *, symmetric: bool = False
) -> bytes:
    """Return `graph` with random weights as a model file of `model_format` in `precision`.

    `symmetric` 8 bits are those of runtimes that say so.

    Raises:
        UsageError: no lowering writes that format.
        ExportError: an operator has no form in that precision.
    """
    try:  # no look at the names beforehand: that reads all installed packages, for every model
        lower = LOWERINGS.get(model_format)
    except RegistryError as error:
        raise UsageError(f"nothing can be profiled as {model_format!r}: {error}") from error
    form = {"symmetric": True} if symmetric and precision == "int8" else {}
    return lower(graph, random_weights(graph), precision=precision, **form)


def write_model(stem: Path, graph: Graph, runtime: str, precision: str) -> Path:
    """Write `graph` with random weights as `runtime` runs it; return its path, `stem` and a suffix.

    Raises:
        UsageError, ExportError: as `model_bytes`.
        OSError: it cannot be written.
    """
    kind = RUNTIMES.get(runtime)
    path = stem.with_name(f"{stem.name}{FORMATS.get(kind.format)}")
    path.write_bytes(model_bytes(graph, kind.format, precision, symmetric=kind.symmetric))
    return path
