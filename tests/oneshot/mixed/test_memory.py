"""How many candidates run in a step: all of them, or as many as a method needs, however many."""

from __future__ import annotations

import pytest

from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.mixture import Mixture
from edgenas.oneshot.mixed.network import MixedNetwork
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw
from edgenas.oneshot.mixed.settings import method
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace
from tests.oneshot.mixed.small_spaces import small


def most_run(space: SearchSpace, mixture: Mixture) -> int:
    """Return of how many candidates one layer holds the activations, at most."""
    network = MixedNetwork(Supernet(space, seed=0), space)
    return max(len(terms.of(mixture).specs) for terms in network._terms if terms is not None)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "of_weights", "of_logits"),
    [
        ("proxylessnas", 1, 2),
        ("proxylessnas_full", 1, 9),
        ("proxylessnas_reinforce", 1, 1),
        ("gdas", 1, 1),
        ("fbnet", 9, 9),
        ("darts", 9, 9),
    ],
)
def test_one_path_methods_run_no_more_where_there_are_more_candidates(
    name: str, of_weights: int, of_logits: int, seed: int
) -> None:
    space = small("fbnet")  # nine candidates a layer
    relaxation = RELAXATIONS.get(method(name).relaxation)()
    logits, draw = GeneLogits(space, seed=0), Draw(1.0, seed)
    assert most_run(space, relaxation.for_weights(logits, draw)) == of_weights
    assert most_run(space, relaxation.for_logits(logits, draw)) == of_logits
