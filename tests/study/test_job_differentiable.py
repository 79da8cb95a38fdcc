"""The part of a job about a differentiable search: defaults, what goes together, reading back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgenas.core.errors import EdgenasError
from edgenas.core.objective import Constraint
from edgenas.core.schema import parse_yaml
from edgenas.oneshot.mixed.settings import METHODS, DifferentiableSettings
from edgenas.study.job import Job, limits_of, load_job
from edgenas.study.job_differentiable import DifferentiableSection

LEAST = "schema_version: 1\nname: least\ndata: {source: digits}\n"


def job(tmp_path: Path, *search: str, more: str = "") -> Job:
    path = tmp_path / "job.yaml"
    lines = "".join(f"    {line}\n" for line in search)
    path.write_text(f"{LEAST}{more}search:\n  differentiable:\n{lines}", encoding="utf-8")
    return load_job(path)


def refusal(tmp_path: Path, *search: str, more: str = "") -> str:
    with pytest.raises(EdgenasError) as caught:
        job(tmp_path, *search, more=more)
    return str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_written_reads_back_the_same(tmp_path: Path, name: str) -> None:
    candidates = "  candidates: {epochs: 1}\n" if name == "pc_darts" else ""
    path = tmp_path / "job.yaml"
    limits = 'constraints: ["latency_ms <= 1"]\n'
    text = f"{LEAST}{limits}search:\n{candidates}  differentiable: {{method: {name}}}\n"
    path.write_text(text, encoding="utf-8")
    found = load_job(path)
    assert parse_yaml(found.to_yaml(), Job) == found
    assert found.search.searcher == "probabilities"


def test_keys_are_settings_of_a_search() -> None:
    """Whatever a job can set, the settings have, under the same name."""
    about = {"method", "pace", "loss", "costs", "budgets"}
    settings = {field.name for field in dataclasses.fields(DifferentiableSettings)}
    assert set(DifferentiableSection.model_fields) - about <= settings


def test_limits_ask_for_the_form_that_ends_on_them(tmp_path: Path) -> None:
    budgets = 'budgets: ["latency_ms <= 0.1 @ 90%", "latency_ms <= 0.2 @ 90%"]'
    found = job(tmp_path, "method: fbnet", budgets)
    section = found.search.differentiable
    assert section is not None
    assert section.settings(has_limits=True).loss.form == "budget"
    assert section.settings(has_limits=False).loss.form == "fbnet"
    assert limits_of(found) == [
        (Constraint.parse("latency_ms <= 0.1 @ 90%"),),
        (Constraint.parse("latency_ms <= 0.2 @ 90%"),),
    ]
    own = job(tmp_path, "loss: {form: fbnet, beta: 0.9}", budgets).search.differentiable
    assert own is not None
    loss = own.settings(has_limits=True).loss
    assert (loss.form, loss.factor, loss.power) == ("fbnet", 0.2, 0.9)


def test_without_a_sweep_the_job_s_constraints_are_the_budget(tmp_path: Path) -> None:
    found = job(tmp_path, "method: gdas", more='constraints: ["latency_ms <= 0.3"]\n')
    assert limits_of(found) == [(Constraint.parse("latency_ms <= 0.3"),)]
    assert limits_of(job(tmp_path, "method: gdas")) == [()]


def test_a_job_s_rates_and_lengths_win_over_the_method_s(tmp_path: Path) -> None:
    section = job(tmp_path, "logits_lr: 0.2", "order: 2", "method: darts").search.differentiable
    assert section is not None
    settings = section.settings(has_limits=False)
    assert (settings.logits_lr, settings.order) == (0.2, 2)
    paper = job(tmp_path, "pace: paper", "method: darts").search.differentiable
    assert paper is not None
    assert paper.settings(has_limits=False).logits_lr == 3e-4


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        (("loss: {form: budget}",), "", "compares costs with a limit, and there is none"),
        (('budgets: ["accuracy >= 0.9"]',), "", "limit costs alone"),
        (('budgets: ["latency_ms <= 0"]',), "", "above 0"),
        (("method: pc_darts",), "", "write search.candidates"),
        (("logits_share: 0.9",), "", "logits_share=0.9"),
        (("method: fbnet",), "training: {weights: w.safetensors}\n", "training.weights beside"),
        (("methode: fbnet",), "", "methode"),
        (
            ('budgets: ["latency_ms <= 0.1", "latency_ms <= 0.2 @ 90%"]',),
            "",
            "budgets limit different costs; all limit the same ones: latency_ms; latency_ms @ 90%",
        ),
        (
            ('budgets: ["latency_ms <= 0.1", "latency_ms <= 0.2"]',),
            'constraints: ["latency_ms <= 0.15"]\n',
            "latency_ms <= 0.2 is more than the constraint latency_ms <= 0.15 allows",
        ),
        (("method: darts", "temperature: 2"), "", "darts does not read temperature"),
        (("n_networks: 4",), "", "fbnet does not read n_networks"),
        (("method: darts", "loss: {alpha: 1}"), "", "loss.alpha is no weight of the form none"),
        (("loss: {form: sum, beta: 1}",), "", "loss.beta is no weight of the form sum"),
        (
            ("method: proxylessnas_reinforce", "loss: {alpha: 1}"),
            'constraints: ["latency_ms <= 0.15"]\n',
            "loss.alpha is no weight of a reward",
        ),
        (("method: proxylessnas_reinforce",), "", "learns from rewards, which compare costs"),
        (("method: fbnet",), "training: {n_random_subnets: 2}\n", "mixtures are trained"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, lines: tuple[str, ...], more: str, message: str
) -> None:
    assert message in refusal(tmp_path, *lines, more=more)
