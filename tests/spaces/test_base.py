"""Spaces as declared: what is refused, conditions, combinations, fingerprints, folds."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.core.ops import OpSpec, add
from edgenas.spaces import fold
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.fold import Fold
from edgenas.testing.space_contract import every_genes, width_space


def nothing(*options: Any) -> tuple[OpSpec, ...]:
    return ()


def space_of(
    *genes: Gene,
    reads: tuple[str, ...] = (),
    build: Callable[..., tuple[OpSpec, ...]] = nothing,
    name: str = "made",
) -> SearchSpace:
    return SearchSpace(name, genes, (Factor("all", reads, build),), parameters={}, n_classes=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: space_of(Gene("a", (1,)), Gene("a", (2,))), "two genes have the same name"),
        (lambda: space_of(Gene("a", tuple(range(128)))), "gene a has 128 options, allowed: 1 to"),
        (lambda: space_of(Gene("a", ())), "gene a has 0 options"),
        (lambda: space_of(Gene("depth", (1,)), reads=("dept",)), "dept is read .*nearest: depth"),
        (lambda: space_of(Gene("a", (1,), "b", (1,))), "b is read and is no gene"),
        (
            lambda: space_of(Gene("a", (1,), "b", (1,)), Gene("b", (1,), "a", (1,))).conditions,
            "a, b are each other's parents",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpaceError, match=f"space made: .*{message}"):
        make()


def test_a_gene_may_have_127_options() -> None:
    space = space_of(Gene("a", tuple(range(127))), Gene("b", (1, 2)))
    mutants = space.mutate(
        np.full((500, 2), [126, 0], np.int8), np.random.default_rng(0), probability=1.0
    )
    space.check(mutants)
    assert (mutants[:, 0] != 126).all()


def test_conditions_reach_through_parents_that_stand_later() -> None:
    space = width_space()
    genes = space.parse(
        {"width": 4, "kernel1": 3, "wide": 8, "depth": 2, "gate": "se", "kernel3": 5}
        | {"resolution": 8}
    )
    depth, gate = space.index["depth"], space.index["gate"]
    assert space.describe(genes)["kernel3"] == 5
    shallow = genes.copy()
    shallow[depth] = 0
    assert set(space.describe(space.canonical(shallow[None])[0])) == {
        "width",
        "kernel1",
        "wide",
        "depth",
        "resolution",
    }
    # The gate's first option activates kernel2, but only where there is a gate.
    assert shallow[gate] == 1
    assert not space.active(space.canonical(shallow[None]))[0, space.index["kernel2"]]


def test_a_gene_with_one_option_cannot_move() -> None:
    space = space_of(Gene("a", (1,)), Gene("b", (1,)))
    rows = np.zeros((3, 2), np.int8)
    assert not space.mutate(rows, np.random.default_rng(0), probability=1.0).any()


def test_mutation_moves_one_gene_on_average() -> None:
    space = space_of(*(Gene(f"g{i}", (0, 1, 2, 3)) for i in range(10)))
    rows = space.sample(20_000, np.random.default_rng(0))
    moved = (space.mutate(rows, np.random.default_rng(1)) != rows).sum(axis=1)
    # Binomial(10, 0.1), and one where that is none: 1 + 0.9**10 on average.
    assert moved.min() == 1
    assert moved.mean() == pytest.approx(1 + 0.9**10, abs=0.03)
    assert (space.mutate(rows, np.random.default_rng(1), probability=0.0) != rows).sum() == 20_000


def test_crossover_takes_half_from_either_parent() -> None:
    space = space_of(*(Gene(f"g{i}", (0, 1)) for i in range(8)))
    left, right = np.zeros((5000, 8), np.int8), np.ones((5000, 8), np.int8)
    children = space.crossover(left, right, np.random.default_rng(0))
    assert children.mean(axis=0) == pytest.approx(0.5, abs=0.03)


def test_samples_are_uniform_over_the_genes() -> None:
    space = space_of(Gene("a", (1, 2, 3)), Gene("b", (1, 2), "a", (3,)))
    sample = space.sample(30_000, np.random.default_rng(0))
    assert np.bincount(sample[:, 0]) / len(sample) == pytest.approx(1 / 3, abs=0.01)
    assert sample[sample[:, 0] < 2, 1].max() == 0
    assert sample[sample[:, 0] == 2, 1].mean() == pytest.approx(0.5, abs=0.02)


def test_operators_are_named_by_their_factor() -> None:
    def build(n: int) -> tuple[OpSpec, ...]:
        return tuple(add((4, 2, 2)) for _ in range(n))

    space = space_of(Gene("n", (0, 1, 2)), reads=("n",), build=build)
    names = [[name for name, _ in space.ops(np.array([i], np.int8))] for i in range(3)]
    assert names == [[], ["all"], ["all.0", "all.1"]]
    assert space.factor_ops() == {"all": [add((4, 2, 2))]}
    assert space.distinct_ops() == [add((4, 2, 2))]


def test_the_last_gene_of_a_factor_turns_fastest() -> None:
    def build(*options: int) -> tuple[OpSpec, ...]:
        return (OpSpec.make("add", options),)

    genes = (Gene("a", (1, 2)), Gene("b", (3, 4, 5)), Gene("c", (6, 7)))
    space = space_of(*genes, reads=("c", "a", "b"), build=build)
    for indices in product(range(2), range(3), range(2)):
        row = np.array(indices, np.int8)
        ((_, op),) = space.ops(row)
        a, b, c = (gene.options[i] for gene, i in zip(genes, indices, strict=True))
        assert op.in_shape == (c, a, b)


def test_the_fingerprint_is_of_genes_and_operators_alone() -> None:
    def one(a: int) -> tuple[OpSpec, ...]:
        return (add((a,)),)

    def other(a: int) -> tuple[OpSpec, ...]:
        return (add((a + 1,)),)

    gene = Gene("a", (1, 2))
    made = space_of(gene, reads=("a",), build=one)
    same = space_of(gene, reads=("a",), build=one, name="renamed")
    assert made.fingerprint == same.fingerprint
    different = [
        space_of(gene, reads=("a",), build=other),
        space_of(Gene("b", (1, 2)), reads=("b",), build=one),
        space_of(Gene("a", (2, 1)), reads=("a",), build=one),
        space_of(gene, Gene("b", (1,)), reads=("a",), build=one),
        space_of(Gene("a", (1, 2), "b", (1,)), Gene("b", (1, 2)), reads=("a",), build=one),
    ]
    prints = {space.fingerprint for space in (made, *different)}
    assert len(prints) == 1 + len(different)


def test_architectures_are_canonical_and_named() -> None:
    space = width_space()
    raw = np.ones((1, space.n_genes), np.int8)
    raw[0, space.index["depth"]] = 0
    raw[0, space.index["resolution"]] = 0
    (arch,) = space.architectures(raw)
    assert arch.space == space.name
    assert np.array_equal(arch.row, space.canonical(raw)[0])
    (same,) = space.architectures(space.canonical(raw))
    assert same.id == arch.id


def price(op: OpSpec) -> float:
    return sum(map(ord, op.key)) / 7


@pytest.mark.parametrize("how", ["sum", "max"])
def test_a_fold_joins_what_its_operators_cost(how: fold.How) -> None:
    space = width_space()
    everything = every_genes(space)
    folded = Fold.compile(space, price, how=how, offset=0.25)
    join = sum if how == "sum" else max
    wanted = [join(price(op) for _, op in space.ops(row)) + 0.25 for row in everything]
    assert folded(everything) == pytest.approx(wanted)
    parts = folded.by_factor(everything)
    assert parts.shape == (len(everything), len(space.factors))
    joined = parts.sum(axis=1) if how == "sum" else parts.max(axis=1)
    assert joined + 0.25 == pytest.approx(wanted)


def test_a_fold_asks_for_every_operator_once() -> None:
    asked: list[str] = []

    def ask(op: OpSpec) -> float:
        asked.append(op.key)
        return 1.0

    space = width_space()
    Fold.compile(space, ask)
    assert len(asked) == len(set(asked)) == len(space.distinct_ops())


def test_a_fold_does_not_care_how_many_rows_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    space = width_space()
    rows = space.sample(101, np.random.default_rng(0))
    whole = fold.macs(space)(rows)
    monkeypatch.setattr(fold, "_CHUNK", 10)
    assert fold.macs(space)(rows).tolist() == whole.tolist()
    assert fold.macs(space)(rows[:0]).shape == (0,)
    assert fold.macs(space)(np.asfortranarray(rows)).tolist() == whole.tolist()


def test_a_factor_may_read_no_gene() -> None:
    space = space_of(Gene("a", (1, 2)), build=lambda: (add((2, 3)),))
    constant = Fold.compile(space, lambda op: 4.0)
    rows = every_genes(space)
    assert constant(rows).tolist() == [4.0, 4.0]
    assert constant.by_factor(rows).tolist() == [[4.0], [4.0]]
