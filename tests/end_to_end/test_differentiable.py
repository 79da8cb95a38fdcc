"""The chain with a differentiable search: what is learned, drawn, picked, exported, reported."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from edgenas.core.errors import SchemaError
from edgenas.oneshot.mixed import search as search_module
from edgenas.study.api import compile_job
from edgenas.study.job import load_job
from tests.end_to_end.test_compile import again
from tests.tiny_job import write_job

TRAINING = ("training: {epochs: 1, batch_size: 128}\n", "training: {epochs: 3, batch_size: 128}\n")
SEARCH = "search: {n_evaluations: 12, population: 6}"


def asking(*lines: str, more: str = "") -> tuple[str, str]:
    """Return the change of the tiny job that asks for a differentiable search."""
    inside = "".join(f"    {line}\n" for line in ("method: fbnet", *lines))
    return SEARCH, f"search:\n  n_evaluations: 9\n{more}  differentiable:\n{inside}"


@pytest.mark.slow
def test_a_sweep_over_budgets_goes_through_the_whole_chain(run: Path) -> None:
    evaluated = json.loads((run / "search/evaluations.json").read_text())["evaluations"]
    known = sorted(entry["values"]["latency_ms"] for entry in evaluated)
    # Without zeros at the end: limits are told as they are kept, and not as they were written.
    low, high = (f"latency_ms <= {known[i]:.4g}" for i in (3, 9))
    change = asking(f'budgets: ["{low}", "{high}"]')
    done = again(run, TRAINING, change)
    assert done[:4] == ["train", "search", "finalists", "pick"]
    learned = json.loads((run / "train/probabilities.json").read_text())
    assert [one["limits"] for one in learned["distributions"]] == [[low], [high]]
    for one in learned["distributions"]:
        (limit,) = one["budgets"].values()
        (settled,) = one["settled"].values()
        assert settled <= limit * (1 + 1e-9)
        assert all(abs(sum(values) - 1) < 1e-9 for values in one["options"].values())
    assert [one["epoch"] for one in learned["progress"]] == [1, 1, 2, 2, 3, 3]
    content = json.loads((run / "search/evaluations.json").read_text())
    costs = [entry["values"]["latency_ms"] for entry in content["evaluations"]]
    limits = [one["budgets"]["latency_ms"] for one in learned["distributions"]]
    # They take turns, and each keeps its own limit.
    assert all(cost <= limits[0] for cost in costs[0::2])
    assert all(cost <= limits[1] for cost in costs[1::2])
    name = f"sqlite:///{run / 'study.db'}"
    studies = [optuna.load_study(study_name=n, storage=name)
               for n in optuna.get_all_study_names(name)]  # fmt: skip
    told = [s.user_attrs["learned"] for s in studies if "learned" in s.user_attrs]
    assert told[0]["method"] == "fbnet"
    assert len(told[0]["progress"]) == 6
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What fbnet learned" in page
    assert again(run, TRAINING, change) == []
    more = ("n_evaluations: 9", "n_evaluations: 10")
    assert again(run, TRAINING, change, more, until="search") == ["search"]


@pytest.mark.slow
def test_a_killed_search_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = asking("logits_every: 1")
    original = search_module.save_state

    def kill(path: Path, *args: object) -> None:
        original(path, *args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "save_state", kill)
    with pytest.raises(KeyboardInterrupt):
        again(run, TRAINING, change, until="train")
    assert list((run / "checkpoints").glob("supernet-*"))
    monkeypatch.setattr(search_module, "save_state", original)
    assert again(run, TRAINING, change, until="train") == ["train"]
    assert not list((run / "checkpoints").glob("supernet-*"))
    learned = json.loads((run / "train/probabilities.json").read_text())
    assert learned["distributions"][0]["limits"] == []
    assert learned["costs"] == ["latency_ms"]


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        (("loss: {form: sum}", "budgets: [fast]"), "", "budgets"),
        (("loss: {form: budget}",), "", "compares costs with a limit, and there is none"),
        (("order: 3",), "", "order"),
        (
            ('budgets: ["latency_ms <= 1", "n_macs <= 9"]',),
            "",
            "budgets limit different costs",
        ),
        ((), "  algorithm: nsga2\n", "algorithm nsga2 beside differentiable"),
        ((), "  predictor: file.json\n", r"search\.predictor beside search\.differentiable"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, lines: tuple[str, ...], more: str, message: str
) -> None:
    path = write_job(tmp_path, TRAINING, asking(*lines, more=more))
    with pytest.raises(SchemaError, match=message):
        compile_job(path, tmp_path / "run")


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    path = write_job(tmp_path, TRAINING, asking(), ("method: fbnet", "method: dart"))
    with pytest.raises(SchemaError, match=r"no differentiable method 'dart'.*darts"):
        load_job(path)
