"""Samplers of Optuna and OptunaHub as searchers: which there are, and what can be wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgenas.core.errors import DataError, EdgenasError, MissingExtraError, UsageError
from edgenas.searchers import SearchProblem, make_searcher
from edgenas.study.loop import run_search
from edgenas.study.optuna_searcher import OptunaSearcher, OptunaSettings
from edgenas.study.samplers import sampler_kind
from edgenas.testing.searcher_contract import SearcherContract, load, run, tiny_problem
from tests.study.test_loop import Artificial

FACTORY = "edgenas.study.optuna_searcher:OptunaSearcher"
REGISTRY = Path(__file__).parent / "optunahub_registry"
HUB = REGISTRY / "package" / "samplers"


class TestNsga3(SearcherContract):
    factory = FACTORY
    settings: ClassVar = {"sampler": "NSGAIIISampler", "arguments": {"population_size": 8}}


class TestQmc(SearcherContract):
    factory = FACTORY
    settings: ClassVar = {"sampler": "QMCSampler", "genes": "numbers"}


class TestBruteForce(SearcherContract):
    factory = FACTORY
    settings: ClassVar = {"sampler": "BruteForceSampler"}


class TestHub(SearcherContract):
    factory = FACTORY
    settings: ClassVar = {
        "sampler": f"hub:{HUB / 'warmed_up'}",
        "arguments": {"population_size": 8},
    }


def searched(file: Path, n: int, **settings: Any) -> list[tuple[int, ...]]:
    searcher = OptunaSearcher(tiny_problem(4.0), seed=1, settings=OptunaSettings(**settings))
    found = run_search(searcher, Artificial(), n_evaluations=n, storage=file)
    return [evaluation.arch.genes for evaluation in found.evaluations]


@pytest.mark.parametrize("genes", ["choices", "numbers"])
def test_gaussian_processes_of_optuna_search_and_resume(tmp_path: Path, genes: str) -> None:
    # The whole contract would take a quarter of an hour: each proposal takes most of a second.
    settings = {"sampler": "GPSampler", "arguments": {"n_startup_trials": 5}, "genes": genes}
    whole = searched(tmp_path / "whole.journal", 8, **settings)
    searched(tmp_path / "parts.journal", 7, **settings)
    assert searched(tmp_path / "parts.journal", 8, **settings) == whole
    assert len(set(whole)) == 8
    random = {**settings, "arguments": {"n_startup_trials": 50}}
    assert searched(tmp_path / "random.journal", 8, **random) != whole


def test_cma_es_searches_for_one_objective_in_numbers() -> None:
    two = tiny_problem()
    arguments = {"n_startup_trials": 5, "popsize": 4}
    settings = OptunaSettings("CmaEsSampler", arguments, "numbers")
    with pytest.raises(UsageError, match=r"CmaEsSampler cannot search here.*multi-objective"):
        run(OptunaSearcher(two, settings=settings), 12)

    def accuracies(settings: OptunaSettings) -> list[float]:
        one = SearchProblem(two.space, two.objectives[:1])
        told = run(OptunaSearcher(one, seed=1, settings=settings), 40)
        assert told == run(OptunaSearcher(one, seed=1, settings=settings), 40)
        return [evaluation.values["accuracy"] for evaluation in told if evaluation.values]

    random = np.mean(accuracies(OptunaSettings("RandomSampler")))
    assert np.mean(accuracies(settings)[-20:]) > random + 0.1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sampler": "TPSampler"}, UsageError, "nearest: TPESampler; of OptunaHub: hub:PACKAGE"),
        ({"sampler": "hub:nothing"}, UsageError, "write hub:samplers/NAME"),
        ({"sampler": "hub:/nowhere"}, UsageError, "it has no __init__.py"),
        ({"sampler": f"hub:{HUB}/two_samplers"}, UsageError, "2 samplers; allowed: First, Unsee"),
        ({"sampler": f"hub:{HUB}/two_samplers:Frist"}, UsageError, "no Frist.*nearest: First"),
        ({"sampler": f"hub:{HUB}/two_samplers:Unseeded"}, UsageError, "and a seed"),
        ({"sampler": f"hub:{HUB}/broken"}, MissingExtraError, "-r .*broken/requirements.txt"),
        ({"sampler": "TPESampler", "arguments": {"n_start": 5}}, UsageError, "n_startup_trials"),
        ({"sampler": "GridSampler"}, UsageError, "search_space"),
        ({"sampler": "PartialFixedSampler"}, UsageError, "arguments: fixed_params, base_sampler"),
        ({"genes": "letters"}, UsageError, "'choices' or 'numbers', got 'letters'"),
    ],
)
def test_what_is_no_sampler_is_refused_by_name(
    settings: dict[str, Any], error: type[EdgenasError], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_searcher("optuna", tiny_problem(), settings=settings)


def test_one_of_several_samplers_of_a_package_is_taken_by_its_name() -> None:
    settings = {"sampler": f"hub:{HUB}/two_samplers:First"}
    assert len(make_searcher("optuna", tiny_problem(), settings=settings).ask(3)) == 3


def test_changed_code_of_a_package_is_another_search(tmp_path: Path) -> None:
    package = Path(shutil.copytree(HUB / "warmed_up", tmp_path / "warmed_up"))
    before = load(FACTORY, {"sampler": f"hub:{package}"}, 0, None).identity()
    with (package / "sampler.py").open("a") as stream:
        stream.write("\nCHANGED = True\n")
    after = load(FACTORY, {"sampler": f"hub:{package}"}, 0, None).identity()
    changed = {key for key in {**before, **after} if before.get(key) != after.get(key)}
    assert changed == {"sampler_code"}


@pytest.mark.parametrize(
    ("sampler", "module", "extra"),
    [("CmaEsSampler", "cmaes", "samplers"), ("GPSampler", "torch", "torch")],
)
def test_a_package_that_a_sampler_needs_is_named(
    sampler: str, module: str, extra: str, repository: Path
) -> None:
    program = (
        "import sys\n"
        "from edgenas.core.errors import MissingExtraError\n"
        "from edgenas.searchers import SearchProblem\n"
        "from edgenas.study.optuna_searcher import OptunaSearcher, OptunaSettings\n"
        "from edgenas.testing.searcher_contract import run, tiny_problem\n"
        f"sys.modules[{module!r}] = None\n"
        "two = tiny_problem()\n"
        "one = SearchProblem(two.space, two.objectives[:1])\n"
        f"settings = OptunaSettings({sampler!r}, {{'n_startup_trials': 2}}, 'numbers')\n"
        "try:\n"
        "    run(OptunaSearcher(one, settings=settings), 6)\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert f"sampler {sampler} needs a package" in done.stdout, done.stderr
    assert f"run: pip install 'edgenas[{extra}]'" in done.stdout


def test_without_optunahub_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(MissingExtraError, match=r"edgenas\[samplers\]"):
        OptunaSettings("hub:samplers/anything")


# -- the registry on the network, which here is a repository in a folder ---------------------


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for https://github.com, by git's own configuration; no registry is there yet."""
    monkeypatch.setenv("OPTUNAHUB_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tmp_path}/github/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    return tmp_path / "github"


def _publish(github: Path) -> None:
    registry = Path(shutil.copytree(REGISTRY, github / "optuna" / "optunahub-registry"))
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "all"],
        ["tag", "v1"],
    ):
        subprocess.run(["git", *command], cwd=registry, check=True, timeout=60)


@pytest.mark.parametrize("ref", ["", "@v1"])
def test_a_package_of_the_registry_is_downloaded_once(github: Path, ref: str) -> None:
    _publish(github)
    kind = sampler_kind(f"hub:samplers/warmed_up{ref}")
    assert kind.kind.__name__ == "WarmedUpSampler"
    shutil.rmtree(github)  # from now on it lies in the cache
    again = sampler_kind(f"hub:samplers/warmed_up{ref}:WarmedUpSampler")
    assert again.digest == kind.digest == sampler_kind(f"hub:{HUB}/warmed_up").digest


@pytest.mark.parametrize("what", ["the network", "the package", "the version"])
def test_what_the_registry_does_not_give_is_named(github: Path, what: str) -> None:
    name = "samplers/warmed_up"
    if what != "the network":
        _publish(github)
    if what == "the package":
        name = "samplers/absent"
    if what == "the version":
        name += "@v9"
    with pytest.raises(DataError) as caught:
        sampler_kind(f"hub:{name}")
    message = str(caught.value)
    assert f"could not load {name.partition('@')[0]} at" in message
    assert "https://github.com/optuna/optunahub-registry" in message
    assert "copy package/" in message


def test_code_for_another_optuna_is_named(tmp_path: Path) -> None:
    package = tmp_path / "old"
    package.mkdir()
    (package / "__init__.py").write_text("import optuna\noptuna.gone_since_version_one\n")
    with pytest.raises(DataError, match="may be for another version of Optuna"):
        sampler_kind(f"hub:{package}")
