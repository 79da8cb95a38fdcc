"""One path of a mixed supernet is the network that is derived from it; mixtures are sums."""

import numpy as np
import pytest
import torch

from edgenas.core.errors import SpaceError
from edgenas.lowering.torch import run_graph
from edgenas.oneshot.mixed.drawn import drawn_genes
from edgenas.oneshot.mixed.logits import GeneLogits
from edgenas.oneshot.mixed.mixture import Mixture, OptionWeights, frozen
from edgenas.oneshot.mixed.network import How, MixedNetwork
from edgenas.oneshot.mixed.relaxations import RELAXATIONS, Draw
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.spaces.base import Factor, Gene, SearchSpace
from edgenas.spaces.blocks import conv_block
from tests.oneshot.mixed.small_spaces import small

WEIGHTS = ["elastic", "separate"]


def images_of(space: SearchSpace, row: np.ndarray, n: int = 4) -> torch.Tensor:
    return torch.randn((n, *space.input_shape(row)), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_frozen_path_is_the_derived_network(space: SearchSpace, weights: str) -> None:
    supernet = Supernet(space, seed=1, weights=weights)
    network = MixedNetwork(supernet, space)
    for row in space.sample(4, np.random.default_rng(0)):
        images = images_of(space, row)
        with torch.no_grad():
            mixed = network(images, frozen(space, row))
            module = extract(supernet, space, row)
            alone = run_graph(module.graph, dict(module.named_parameters()), images, training=True)
        torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mixed, supernet(images, space.ops(row)), rtol=1e-4, atol=1e-5)


def test_one_hot_weights_run_what_their_option_runs(space: SearchSpace) -> None:
    """All candidates are computed, and those of weight 0 leave no trace."""
    network = MixedNetwork(Supernet(space, seed=1), space)
    drawn = drawn_genes(space)
    for row in space.sample(3, np.random.default_rng(1)):
        path = frozen(space, row)
        whole = Mixture(
            {
                c: one
                if c in drawn
                else OptionWeights(one.value.requires_grad_(), tuple(range(len(one.value))))
                for c, one in path.genes.items()
            }
        )
        images = images_of(space, row)
        torch.testing.assert_close(
            network(images, whole), network(images, frozen(space, row)), rtol=1e-3, atol=1e-4
        )


def test_a_layer_is_the_weighted_sum_of_its_candidates() -> None:
    space = small("fbnet")
    supernet = Supernet(space, seed=0, weights="separate")
    network = MixedNetwork(supernet, space)
    column, name = space.index["stage2.layer1"], "stage2.layer1"
    weights = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(9)), dtype=torch.float32)
    genes = dict(frozen(space, space.largest()).genes)
    mixed = Mixture(genes | {column: OptionWeights(weights, tuple(range(9)))})
    values = torch.randn(3, 24, 8, 8)
    made = [
        network.factor(
            name, values, Mixture(genes | {column: OptionWeights(torch.eye(9)[i], (i,))})
        )
        for i in range(9)
    ]
    torch.testing.assert_close(made[0], values)  # the skip
    wanted = torch.stack(made).mul(weights.reshape(9, 1, 1, 1, 1)).sum(0)
    torch.testing.assert_close(network.factor(name, values, mixed), wanted)


def test_every_gene_learns_from_the_loss_but_those_that_are_drawn(space: SearchSpace) -> None:
    network = MixedNetwork(Supernet(space, seed=1), space)
    logits = GeneLogits(space, drawn=drawn_genes(space))
    mixture = RELAXATIONS.get("softmax")().for_logits(logits, Draw(1.0, 0))
    row = np.array([mixture.runs(c)[0] for c in range(space.n_genes)], dtype=np.int8)
    found = network(images_of(space, row), mixture)
    gradients = torch.autograd.grad(found.square().sum(), list(logits.parameters()),
                                    allow_unused=True)  # fmt: skip
    for column, gradient in zip(logits.columns, gradients, strict=True):
        has_learned = gradient is not None and bool(gradient.abs().sum() > 0)
        assert has_learned == (column not in logits.drawn), space.genes[column].name


def test_partial_channels_pass_by_what_they_do_not_see() -> None:
    space = small("cell")
    network = MixedNetwork(Supernet(space, seed=0), space)
    genes = frozen(space, space.smallest()).genes
    soft = {c: OptionWeights(o.value.requires_grad_(), tuple(range(5))) for c, o in genes.items()}
    values = torch.randn(2, *space.input_shape(space.smallest()))
    whole = network(values, Mixture(soft))
    partly = network(values, Mixture(soft), how=How(channel_parts=4))
    assert whole.shape == partly.shape
    assert torch.isfinite(partly).all()
    assert not torch.allclose(whole, partly)


def test_fewer_cells_run_at_less_depth() -> None:
    space = small("cell")
    network = MixedNetwork(Supernet(space, seed=0), space)
    row = space.parse({g.name: "nor_conv_3x3" for g in space.genes})
    values = torch.randn(2, *space.input_shape(row))
    whole, one = (network(values, frozen(space, row), how=How(depth=d)) for d in (2, 1))
    assert not torch.allclose(whole, one)
    all_of_them = network(values, frozen(space, row), how=How(depth=9))
    torch.testing.assert_close(all_of_them, whole)


def test_a_space_whose_layers_choose_their_stride_is_refused() -> None:
    space = small("fbnet")
    broken = SearchSpace(
        "strides", (Gene("stride", (1, 2)),),
        (
            Factor("stem", (), lambda: (conv_block((1, 8, 8), 8, kernel=3, stride=1,
                                                   activation="relu"),)),
            Factor("layer", ("stride",), lambda s: (conv_block((8, 8, 8), 8, kernel=3, stride=s,
                                                               activation="relu"),)),
            Factor("next", ("stride",), lambda s: (conv_block((8, 8 // s, 8 // s), 8, kernel=3,
                                                              stride=1, activation="relu"),)),
        ),
        parameters={}, n_classes=10,
    )  # fmt: skip
    with pytest.raises(SpaceError, match="read images of several sizes"):
        MixedNetwork(Supernet(broken), broken)
    with pytest.raises(SpaceError, match="has not the weights"):
        MixedNetwork(Supernet(small("cell")), space)
