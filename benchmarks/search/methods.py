"""What is compared: the searchers of edgenas with their defaults, and peers with theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.search.problem import Known
from edgenas.core.architecture import Genes
from edgenas.searchers import SEARCHERS

PEERS = ("optuna_nsga2", "optuna_tpe", "pymoo_nsga2")
_LEFT_OUT = ("optuna", "predictor", "probabilities")
"""The first is a peer already; the second selects over a whole supernet, see `once_for_all`; the
third proposes what a differentiable search has learned."""

_MOST_ASKED = 20
"""A peer that has proposed so many times the evaluations has ended, with what it had."""

_MOST_REPEATS = 5

Order = Callable[[Known, int, int], Genes]
"""From a problem, a seed and a number: what was evaluated, in order, shape (n, n_genes)."""


def names() -> list[str]:
    """Return all methods, peers first."""
    return [*PEERS, *(name for name in SEARCHERS if name not in _LEFT_OUT)]


def get(name: str) -> Order:
    """Return a method."""
    peers = {"optuna_nsga2": _optuna("NSGAIISampler"), "optuna_tpe": _optuna("TPESampler")}
    if name == "pymoo_nsga2":
        return _pymoo
    return peers[name] if name in peers else _ours(name)


def _ours(name: str) -> Order:
    kind = SEARCHERS.get(name)

    def run(known: Known, seed: int, n: int) -> Genes:
        searcher, rows = kind(known.search, seed=seed), list[np.ndarray]()
        while len(rows) < n:
            batch = searcher.ask(1)
            if not batch:
                break
            searcher.tell(known.evaluations(batch))
            rows += [arch.row for arch in batch]
        return np.array(rows, dtype=np.int8)

    return run


def _optuna(sampler: str) -> Order:
    """Return a sampler of Optuna with its defaults.

    What it proposes again is answered, and counts nothing. After `_MOST_REPEATS` of them in a row
    a random architecture takes the next place: else TPE would propose hardly anything else.
    """

    def run(known: Known, seed: int, n: int) -> Genes:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            directions=["minimize", "minimize"],
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
        )
        done, rng = _Distinct(known), np.random.default_rng(seed)
        genes, n_repeats = known.space.genes, 0
        while len(done.rows) < n and done.n_asked < _MOST_ASKED * n:
            if n_repeats >= _MOST_REPEATS:
                row = known.search.sample(1, rng)[0]
                study.enqueue_trial({g.name: g.options[row[i]] for i, g in enumerate(genes)})
            trial = study.ask()
            chosen = {g.name: trial.suggest_categorical(g.name, g.options) for g in genes}
            n_before = len(done.rows)
            values = done.values(known.space.canonical(known.space.parse(chosen)[None]))
            n_repeats = n_repeats + 1 if len(done.rows) == n_before else 0
            if values is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, values)
        return done.order(n)

    return run


def _pymoo(known: Known, seed: int, n: int) -> Genes:
    """Run pymoo's NSGA-II on integers; what is no candidate is worse than all that are."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.termination import get_termination

    last = known.space.n_options - 1
    repair = RoundingRepair()
    algorithm = NSGA2(
        pop_size=20,  # the default of 100 leaves four generations
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=repair),
        mutation=PM(vtype=float, repair=repair),
        eliminate_duplicates=True,
    )
    box = Problem(n_var=len(last), n_obj=2, xl=np.zeros(len(last)), xu=last, vtype=int)
    algorithm.setup(
        box, termination=get_termination("n_gen", _MOST_ASKED * n), seed=seed, verbose=False
    )
    done = _Distinct(known)
    worst = [2 * known.reference[0], 0.0]
    while len(done.rows) < n and done.n_asked < _MOST_ASKED * n and algorithm.has_next():
        population = algorithm.ask()
        if population is None or len(population) == 0:
            break
        rows = known.space.canonical(np.asarray(population.get("X")).round().astype(np.int8))
        population.set("F", np.array([done.values(row[None]) or worst for row in rows]))
        for individual in population:
            individual.evaluated.update(["F", "G", "H"])
        algorithm.tell(infills=population)
    return done.order(n)


class _Distinct:
    """Candidates in the order of their first evaluation."""

    def __init__(self, known: Known) -> None:
        self.known, self.n_asked = known, 0
        self.rows: dict[bytes, list[float]] = {}

    def values(self, row: Genes) -> list[float] | None:
        """Return latency and minus accuracy of one architecture, None if it is no candidate."""
        self.n_asked += 1
        key = row.tobytes()
        if key not in self.rows:
            if not self.known.is_candidate(row)[0]:
                return None
            self.rows[key] = self.known.points(row)[0].tolist()
        return self.rows[key]

    def order(self, n: int) -> Genes:
        return np.array([np.frombuffer(key, np.int8) for key in self._first(n)], dtype=np.int8)

    def _first(self, n: int) -> Iterator[bytes]:
        return (key for key, _ in zip(self.rows, range(n), strict=False))
