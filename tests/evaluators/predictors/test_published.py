"""The published predictor: against its own formula, measured accuracies, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from edgenas import spaces
from edgenas.core.errors import SpaceError, StorageError
from edgenas.evaluators.predictors import load_published
from edgenas.evaluators.predictors.published import PublishedPredictor
from edgenas.spaces.ofa_mbv3 import OfaMbv3Space

SHAPES = {"w0": (400, 128), "w2": (400, 400), "w4": (400, 400), "w6": (1, 400)}


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = {
        name: (rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    for name, shape in SHAPES.items():
        weights[f"b{name[1]}"] = rng.normal(size=shape[0]).astype(np.float32)
    return weights


def by_the_book(weights: dict[str, np.ndarray], config: dict[str, object]) -> float:
    """The published formula, one architecture at a time, from the options by gene."""
    kernels, expansions, size = np.zeros((20, 3)), np.zeros((20, 3)), np.zeros(8)
    for stage in range(5):
        for block in range(int(str(config[f"stage{stage + 1}.depth"]))):
            name = f"stage{stage + 1}.block{block}"
            kernels[4 * stage + block, (3, 5, 7).index(config[f"{name}.kernel"])] = 1
            expansions[4 * stage + block, (3, 4, 6).index(config[f"{name}.expansion"])] = 1
    size[(int(str(config["resolution"])) - 112) // 16] = 1
    values = np.concatenate([kernels.ravel(), expansions.ravel(), size])
    for i in (0, 2, 4):
        values = np.maximum(weights[f"w{i}"].astype(float) @ values + weights[f"b{i}"], 0)
    return float((weights["w6"].astype(float) @ values + weights["b6"])[0])


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    space = spaces.get("ofa_mbv3_w1.0")
    assert isinstance(space, OfaMbv3Space)
    return space


def test_predicts_as_the_published_formula(space: OfaMbv3Space) -> None:
    weights = random_weights()
    population = space.sample(1100, np.random.default_rng(1))  # more than a chunk
    found = PublishedPredictor(space, weights)(population)
    assert found.shape == (1100,)
    assert found.dtype == np.float64
    for i in (0, 1, 2, 1023, 1024, 1099):
        wanted = by_the_book(weights, space.describe(population[i]))
        assert found[i] == pytest.approx(wanted, abs=1e-5)


def test_inactive_genes_make_no_difference(space: OfaMbv3Space) -> None:
    predictor = PublishedPredictor(space, random_weights())
    rng = np.random.default_rng(2)
    raw = rng.integers(0, space.n_options, (50, space.n_genes)).astype(np.int8)
    np.testing.assert_array_equal(predictor(raw), predictor(space.canonical(raw)))
    np.testing.assert_array_equal(predictor(np.asfortranarray(raw)), predictor(raw))


def test_fewer_and_other_options_read_the_same_columns() -> None:
    changed = spaces.get("ofa_mbv3_w1.2", kernels=(5, 7), expansions=(6, 3), resolutions=(112, 224))
    weights = random_weights()
    population = changed.sample(20, np.random.default_rng(3))
    found = PublishedPredictor(changed, weights)(population)
    wanted = [by_the_book(weights, changed.describe(row)) for row in population]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_empty_population_has_no_accuracies(space: OfaMbv3Space) -> None:
    assert PublishedPredictor(space, random_weights())(
        space.sample(0, np.random.default_rng(0))
    ).shape == (0,)


def test_it_has_no_intervals(space: OfaMbv3Space) -> None:
    predictor = PublishedPredictor(space, random_weights())
    value, low, high = predictor.predict(space.sample(3, np.random.default_rng(0)))
    assert not predictor.has_intervals
    assert np.isfinite(value).all()
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("mbv3_tiny", {}, "allowed: ofa_mbv3_w1.0, ofa_mbv3_w1.2"),
        ("ofa_proxyless_w1.3", {}, "allowed: ofa_mbv3_w1.0"),
        ("fbnet_a", {}, "allowed: ofa_mbv3_w1.0"),
        ("ofa_mbv3_w1.0", {"width_multiplier": 0.5}, "allowed: ofa_mbv3_w1.0"),
        ("ofa_mbv3_w1.0", {"n_classes": 10}, "allowed: ofa_mbv3_w1.0"),
        ("ofa_mbv3_w1.0", {"resolutions": (160, 164)}, "resolutions 164"),
        ("ofa_mbv3_w1.0", {"expansions": (2, 3)}, "expansions 2"),
    ],
)
def test_other_spaces_are_refused(name: str, changes: dict[str, object], told: str) -> None:
    if name == "fbnet_a":
        name = next(n for n in spaces.SPACES if n.startswith("fbnet"))
    with pytest.raises(SpaceError, match="published predictor") as caught:
        PublishedPredictor(spaces.get(name, **changes), random_weights())
    assert told in str(caught.value)


def test_reads_arrays_and_the_authors_file(space: OfaMbv3Space, tmp_path: Path) -> None:
    weights = random_weights()
    population = space.sample(10, np.random.default_rng(0))
    wanted = PublishedPredictor(space, weights)(population)
    np.savez(tmp_path / "weights.npz", **weights)
    np.testing.assert_array_equal(
        load_published(tmp_path / "weights.npz", space)(population), wanted
    )
    torch = pytest.importorskip("torch")
    layers = torch.nn.Sequential(
        *(part for i in (128, 400, 400) for part in (torch.nn.Linear(i, 400), torch.nn.ReLU())),
        torch.nn.Linear(400, 1),
    )
    state = {
        f"layers.{key[1]}.{'weight' if key[0] == 'w' else 'bias'}": torch.from_numpy(value)
        for key, value in weights.items()
    }
    assert {f"layers.{name}" for name in layers.state_dict()} == set(state)
    bare = {name.removeprefix("layers."): value for name, value in state.items()}
    for content in (state, bare, {"state_dict": state}):
        torch.save(content, tmp_path / "acc_predictor.pth")
        found = load_published(tmp_path / "acc_predictor.pth", space)
        np.testing.assert_array_equal(found(population), wanted)


def test_files_of_something_else_are_refused(space: OfaMbv3Space, tmp_path: Path) -> None:
    weights = random_weights()
    path = tmp_path / "weights.npz"
    with pytest.raises(StorageError, match="cannot read"):
        load_published(path, space)
    path.write_bytes(b"no archive")
    with pytest.raises(StorageError, match="cannot read"):
        load_published(path, space)
    np.savez(path, **{**weights, "w2": weights["w2"][:, :10]})
    with pytest.raises(StorageError, match=r"w2 is \(400, 10\), not \(400, 400\)"):
        load_published(path, space)
    np.savez(path, **{k: v for k, v in weights.items() if k != "b6"}, w8=weights["b6"])
    with pytest.raises(StorageError, match=r"b6 is missing.*w8 is unknown"):
        load_published(path, space)
    np.savez(path, **{**weights, "b4": np.full(400, np.nan, np.float32)})
    with pytest.raises(StorageError, match="not finite: b4"):
        load_published(path, space)


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil"),))


def test_code_in_a_file_is_not_run(
    space: OfaMbv3Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "acc_predictor.pth"
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(StorageError, match="cannot read"):
        load_published(path, space)
    np.savez(tmp_path / "evil.npz", w0=np.array([_Evil()], dtype=object))
    with pytest.raises(StorageError, match="cannot read"):
        load_published(tmp_path / "evil.npz", space)
    assert not (tmp_path / "evil").exists()


def test_a_broken_torch_file_of_other_tensors_is_refused(
    space: OfaMbv3Space, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(StorageError, match="w0 is missing"):
        load_published(tmp_path / "other.pth", space)
    torch.save([1, 2], tmp_path / "other.pth")
    with pytest.raises(StorageError, match="w0 is missing"):
        load_published(tmp_path / "other.pth", space)


def test_ranks_measured_accuracies(space: OfaMbv3Space, bench_data: Path) -> None:
    folder = bench_data / "ofa_mbv3"
    predictor = load_published(folder / "ofa_acc_predictor_mlp_weights.npz", space)
    with gzip.open(folder / "ofa_mbv3_w1.0_imagenet_acc_dynast.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2373
    population = np.stack(
        [
            space.from_ofa(
                *([int(n) for n in row[key].split()] for key in ("ks", "e", "d")), int(row["r"])
            )
            for row in rows
        ]
    )
    measured = np.array([float(row["top1"]) for row in rows])
    found = predictor(population)
    assert spearmanr(found, measured).statistic >= 0.98
    # The published fit of measured accuracy on the prediction, percent.
    slope, level = np.polyfit(100 * found, measured, 1)
    assert slope == pytest.approx(0.9885, abs=2e-4)
    assert level == pytest.approx(-4.9388, abs=2e-2)
