"""The loop: every method learns, goes on from where it was stopped, and ends on its budget."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas.core.architecture import Genes
from edgenas.core.errors import StorageError, UsageError
from edgenas.core.objective import objective
from edgenas.oneshot.data import ImageDataset
from edgenas.oneshot.mixed.budget import settle
from edgenas.oneshot.mixed.expected import ExpectedCost
from edgenas.oneshot.mixed.lessons import Cost
from edgenas.oneshot.mixed.loss_settings import LossSettings
from edgenas.oneshot.mixed.measured import MeasuredCost
from edgenas.oneshot.mixed.search import search
from edgenas.oneshot.mixed.settings import METHODS, DifferentiableSettings, Stage, method, short
from edgenas.oneshot.mixed.state import Searching
from edgenas.oneshot.mixed.watch import EpochReport
from edgenas.oneshot.optimisation import StepReport
from edgenas.oneshot.supernet import Supernet
from edgenas.searchers.probabilities import (
    Probabilities,
    ProbabilitiesSearcher,
    ProbabilitiesSettings,
)
from edgenas.searchers.problem import SearchProblem
from edgenas.spaces.fold import macs, peak_activation_kib
from edgenas.spaces.listing import listing
from tests.oneshot.mixed.small_spaces import small


class StoppedError(Exception):
    """Stands for a kill."""


def quick(name: str, **changes: object) -> DifferentiableSettings:
    settings = short(method(name), epochs=3, warmup_epochs=1)
    training = replace(settings.training, batch_size=32)
    stages = tuple(
        Stage(options=s.options and min(3, s.options), skip_dropout=s.skip_dropout)
        for s in settings.stages
    )
    return replace(settings, training=training, stages=stages, n_networks=2, **changes)


def run(
    settings: DifferentiableSettings,
    dataset: ImageDataset,
    *,
    kind: str = "fbnet",
    budget: float | None = None,
    checkpoint: Path | None = None,
    stop_after: int | None = None,
    n_budgets: int = 1,
    costs: Mapping[str, Cost] | None = None,
    more: Mapping[str, float] | None = None,
) -> tuple[Searching, list[EpochReport]]:
    """Search a small space; `costs` by default the MACs; `more` budgets beside theirs."""
    space = small(kind)
    costs = costs or {"n_macs": ExpectedCost(macs(space))}
    asked = {"n_macs": budget or 1e6, **(more or {})}
    supernet = Supernet(space, seed=0, weights=settings.weights)
    greatest = {"n_macs": float(macs(space)(space.largest()[None])[0])}
    searching = Searching(
        supernet, space, settings, budgets=[asked] * n_budgets, greatest=greatest, seed=0
    )
    n_steps = 0

    def on_step(report: StepReport) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == stop_after:
            raise StoppedError

    told = search(
        searching, space, dataset, settings, costs=costs,
        identity=settings.method, seed=0, checkpoint=checkpoint, on_step=on_step,
    )  # fmt: skip
    return searching, told


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["fbnet", "once-for-all", "cell"])
def test_every_method_learns_in_every_kind_of_space(
    name: str, kind: str, dataset: ImageDataset
) -> None:
    searching, told = run(quick(name), dataset, kind=kind)
    assert [one.epoch for one in told] == [1, 2, 3]
    assert [one.is_warmup for one in told] == [True, False, False]
    assert np.isnan(told[0].logits_loss)
    assert np.isfinite([told[1].logits_loss, told[2].logits_loss]).all()
    assert told[0].entropy == pytest.approx(1, abs=1e-3)
    assert told[2].entropy < told[0].entropy
    learned = searching.distributions[0].logits.probabilities().values()
    # One path alone in a row of layers, each of which normalises what it reads, says little.
    least = min if name not in ("gdas", "proxylessnas_reinforce") else max
    assert least(float(p.detach().max() - p.detach().min()) for p in learned) > 0.01


KILLED = [
    ("fbnet", "fbnet", {}),
    ("fbnet", "fbnet", {"loss": LossSettings(form="budget")}),
    ("proxylessnas", "once-for-all", {"loss": LossSettings(form="budget")}),
    ("proxylessnas_reinforce", "fbnet", {}),
    ("darts_second", "fbnet", {}),
    ("gdas", "once-for-all", {}),
    ("pc_darts", "cell", {}),
    ("p_darts", "fbnet", {}),
]


@pytest.mark.parametrize(("name", "kind", "changes"), KILLED)
def test_a_killed_search_ends_as_one_that_was_not(
    name: str, kind: str, changes: dict[str, object], dataset: ImageDataset, tmp_path: Path
) -> None:
    settings = quick(name, **changes)
    settings = replace(settings, training=replace(settings.training, checkpoint_minutes=0.0))
    whole, told = run(settings, dataset, kind=kind, n_budgets=2)
    path = tmp_path / "checkpoint.safetensors"
    for stop_after in (1, 2, 1):
        with pytest.raises(StoppedError):
            run(settings, dataset, kind=kind, n_budgets=2, checkpoint=path, stop_after=stop_after)
    again, told_again = run(settings, dataset, kind=kind, n_budgets=2, checkpoint=path)
    assert str(told_again) == str(told)  # NaN is not itself
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


def test_a_checkpoint_of_another_search_is_refused(dataset: ImageDataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    run(quick("fbnet"), dataset, checkpoint=path)
    with pytest.raises(StorageError, match="is of another search"):
        run(quick("gdas"), dataset, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match="cannot read the checkpoint"):
        run(quick("fbnet"), dataset, checkpoint=path)


def test_options_are_closed_stage_by_stage(dataset: ImageDataset) -> None:
    searching, _ = run(quick("p_darts"), dataset)
    logits = searching.distributions[0].logits
    assert {len(logits.open_options(c)) for c in logits.columns} == {3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs", "lr"), [("fbnet", 8, 0.15), ("proxylessnas", 14, 0.1), ("gdas", 14, 0.1)]
)
def test_five_budgets_of_the_range_are_met(
    name: str, epochs: int, lr: float, dataset: ImageDataset
) -> None:
    """Learning goes most of the way, the tilt the rest, and what is proposed is within 5 %.

    fbnet runs all options in every step, and learns from all of them; the others draw some.
    """
    space = small("fbnet")
    fold = macs(space)
    every = listing(space)
    assert every is not None
    low, high = float(fold(every).min()), float(fold(every).max())
    settings = quick(name, loss=LossSettings(form="budget"), logits_every=1, logits_lr=lr)
    settings = replace(settings, training=replace(settings.training, epochs=epochs, batch_size=16))
    dataset.train = dataset.train.take(np.arange(80))
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        budget = low + share * (high - low)
        searching, told = run(settings, dataset, budget=budget)
        away = [abs(one.costs["n_macs"] - budget) for one in (told[0], told[-1])]
        assert away[1] < max(0.1 * budget, away[0] / 3)
        logits, cost = searching.distributions[0].logits, ExpectedCost(fold)
        assert settle(logits, {"n_macs": cost}, {"n_macs": budget})
        problem = SearchProblem(
            space, (objective("n_macs"),), cheap=lambda rows: {"n_macs": fold(rows)}
        )
        one = Probabilities(logits.options(), (f"n_macs <= {budget}",), least_use=0.95)
        searcher = ProbabilitiesSearcher(problem, settings=ProbabilitiesSettings([one]))
        proposed = searcher.likeliest(0)
        assert proposed is not None
        assert 0.95 * budget <= fold(proposed[None])[0] <= budget


def test_a_budget_above_all_networks_presses_nothing_to_its_end(dataset: ImageDataset) -> None:
    space = small("fbnet")
    most = float(macs(space)(space.largest()[None])[0])
    settings = quick("fbnet", loss=LossSettings(form="budget"))
    searching, _ = run(settings, dataset, budget=2 * most)
    one = searching.distributions[0]
    assert not one.is_reachable
    asked = {"n_macs": 2 * most}
    before = one.logits.log_probabilities()
    assert settle(one.logits, {"n_macs": ExpectedCost(macs(space))}, asked, is_reachable=False)
    np.testing.assert_array_equal(before[1], one.logits.log_probabilities()[1])
    assert one.number("n_steps") > 0
    assert one.logits.entropy() > 0.5


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_two_threads(dataset: ImageDataset) -> None:
    """Batch norms see 16 images in both."""
    settings = quick("fbnet")
    threads = replace(settings.training, batch_size=32, threads=2)
    one, _ = run(replace(settings, training=threads), dataset)
    processes = replace(threads, batch_size=16, threads=1, devices=2, lr=threads.lr / 2)
    two, told = run(replace(settings, training=processes), dataset)
    assert len(told) == 3
    first, second = (s.distributions[0].logits.log_probabilities() for s in (one, two))
    for own, other in zip(first, second, strict=True):
        np.testing.assert_allclose(np.exp(own), np.exp(other), atol=1e-3)


def test_several_distributions_learn_in_turn_from_the_same_weights(dataset: ImageDataset) -> None:
    searching, told = run(quick("fbnet"), dataset, n_budgets=2)
    assert [(one.epoch, one.distribution) for one in told] == [
        (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)
    ]  # fmt: skip
    first, second = (one.logits.log_probabilities() for one in searching.distributions)
    assert not np.allclose(first[1], second[1])


def test_two_costs_end_within_two_budgets(dataset: ImageDataset) -> None:
    """The sum of operations and the maximum of activations: the tighter one is reached."""
    space = small("fbnet")
    costs = {
        "n_macs": ExpectedCost(macs(space)),
        "peak_activation_kib": ExpectedCost(peak_activation_kib(space)),
    }
    even = Searching(
        Supernet(space, seed=0), space, quick("fbnet"), budgets=[{}], seed=0
    ).distributions[0]
    start = {k: float(v(even.logits.probabilities()).detach()) for k, v in costs.items()}
    budgets = {"n_macs": 0.9 * start["n_macs"], "peak_activation_kib": start["peak_activation_kib"]}
    settings = quick("fbnet", loss=LossSettings(form="budget"))
    searching, told = run(
        settings,
        dataset,
        budget=budgets["n_macs"],
        more={"peak_activation_kib": budgets["peak_activation_kib"]},
        costs=costs,
    )
    assert set(told[-1].costs) == set(costs)
    logits = searching.distributions[0].logits
    assert settle(logits, costs, budgets)
    ratios = [float(v(logits.probabilities()).detach()) / budgets[k] for k, v in costs.items()]
    assert 0.98 <= max(ratios) <= 1


def test_rewards_learn_from_what_only_measuring_tells(dataset: ImageDataset) -> None:
    space, asked = small("fbnet"), list[bytes]()
    fold = macs(space)

    def measure(row: Genes) -> float:
        np.testing.assert_array_equal(row, space.canonical(row[None])[0])
        asked.append(row.tobytes())
        return float(fold(row[None])[0])

    cost = MeasuredCost(measure)
    _, told = run(quick("proxylessnas_reinforce"), dataset, costs={"n_macs": cost})
    assert len(asked) == len(set(asked)) > 2  # each is measured once
    low, high = (float(fold(row[None])[0]) for row in (space.smallest(), space.largest()))
    assert np.isnan(told[0].costs["n_macs"])  # nothing is drawn in the warm-up
    assert low <= told[-1].costs["n_macs"] <= high
    with pytest.raises(UsageError, match="n_macs is measured and has no gradient"):
        run(quick("fbnet"), dataset, costs={"n_macs": MeasuredCost(measure)})
