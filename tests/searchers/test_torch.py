"""Searchers that are neural networks say what they need before anything is evaluated."""

import importlib
from types import ModuleType

import pytest

from edgenas.core.errors import MissingExtraError
from edgenas.searchers import SEARCHERS, make_searcher
from edgenas.testing.searcher_contract import tiny_problem

NEURAL = ("monas", "mnasnet", "pnas", "dpp_net")


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return found(name, package)

    monkeypatch.setattr("importlib.import_module", refuse)


@pytest.mark.parametrize("name", NEURAL)
def test_a_missing_torch_is_named_at_once(name: str) -> None:
    with pytest.raises(MissingExtraError, match=r"edgenas\[torch\]"):
        make_searcher(name, tiny_problem())


@pytest.mark.parametrize("name", [n for n in SEARCHERS if n not in NEURAL])
def test_the_others_need_none(name: str) -> None:
    assert len(make_searcher(name, tiny_problem()).ask(2)) == 2
