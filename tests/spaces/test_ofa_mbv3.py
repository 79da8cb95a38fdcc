"""Once-for-all MobileNetV3: recorded counts, the parametrised family, names of changed spaces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.core.errors import RegistryError, SpaceError
from edgenas.spaces import fold, from_parameters, get
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.ofa_mbv3 import PRESETS, OfaMbv3Space, Stage, ofa_mbv3


def genes_of(space: OfaMbv3Space, config: Any, resolution: int) -> np.ndarray:
    """Returns genes from a recorded configuration; a scalar holds for every block or stage."""
    n_blocks = sum(max(stage.depths) for stage in space.settings.stages)
    n_stages = len(space.settings.stages)
    if config == "max":
        config = {"ks": 7, "e": 6, "d": 4}
    full = {
        key: [config[key]] * n if isinstance(config[key], int) else config[key]
        for key, n in (("ks", n_blocks), ("e", n_blocks), ("d", n_stages))
    }
    for stage, depths in enumerate(stage.depths for stage in space.settings.stages):
        if len(depths) == 1:  # what the public code does with a stage that is not elastic
            full["d"][stage] = depths[0]
    return space.from_ofa(full["ks"], full["e"], full["d"], resolution)


@pytest.mark.parametrize("name", ["ofa_mbv3_w1.0", "ofa_mbv3_w1.2", "ofa_proxyless_w1.3"])
def test_every_recorded_subnet_has_its_counts(bench_data: Path, name: str) -> None:
    recorded = json.loads((bench_data / "ofa_oracle" / f"{name}.json").read_text())["subnets"]
    space = ofa_mbv3(name)
    rows = np.stack([genes_of(space, net["config"], net["resolution"]) for net in recorded])
    assert len(rows) >= 8
    assert fold.macs(space)(rows).tolist() == [net["n_macs"] for net in recorded]
    assert fold.params(space)(rows).tolist() == [net["n_params"] for net in recorded]


def test_the_largest_and_smallest_have_the_published_counts() -> None:
    # The extreme networks of the public supernet, kept here so that no recorded file is needed.
    space = ofa_mbv3("ofa_mbv3_w1.0")
    rows = np.stack([genes_of(space, "max", 192), genes_of(space, {"ks": 3, "e": 3, "d": 2}, 176)])
    assert fold.params(space)(rows).tolist() == [7_664_760, 3_410_792]
    assert fold.macs(space)(rows).tolist() == [417_292_160, 78_054_120]
    space = ofa_mbv3("ofa_proxyless_w1.3")
    rows = np.stack([genes_of(space, "max", 192), genes_of(space, {"ks": 3, "e": 3, "d": 2}, 176)])
    assert fold.params(space)(rows).tolist() == [7_942_056, 3_718_832]
    assert fold.macs(space)(rows).tolist() == [738_741_248, 174_145_784]


def test_the_space_has_its_published_size() -> None:
    # Cai et al. 2020, section 3: ((3 * 3)^2 + (3 * 3)^3 + (3 * 3)^4)^5, about 2 * 10^19 networks.
    space = get("ofa_mbv3_w1.0", resolutions=[224])
    assert BudgetProgram(fold.macs(space)).size() == (9**2 + 9**3 + 9**4) ** 5


@pytest.mark.parametrize(
    ("kernels", "expansions", "depths"),
    [(8, 9, 3), (10, 8, 3), (9, 9, 2), (9, 9, 4), (8, 10, 3), (9, 8, 4)],
)
def test_lists_of_another_length_are_refused(kernels: int, expansions: int, depths: int) -> None:
    space = ofa_mbv3("mbv3_tiny")
    with pytest.raises(SpaceError, match="takes 9 kernels, 9 expansions and 3 depths, got"):
        space.from_ofa([3] * kernels, [3] * expansions, [2] * depths, 28)


def test_lists_with_other_values_are_refused() -> None:
    space = ofa_mbv3("mbv3_tiny")
    with pytest.raises(SpaceError, match="kernel is 9, allowed: 3, 5, 7"):
        space.from_ofa([9] * 9, [3] * 9, [2] * 3, 28)
    with pytest.raises(SpaceError, match="resolution is 30, allowed: 20, 24, 28, 32"):
        space.from_ofa([3] * 9, [3] * 9, [2] * 3, 30)


def test_values_of_blocks_that_do_not_run_do_not_matter() -> None:
    space = ofa_mbv3("mbv3_tiny")
    one = space.from_ofa([3, 7, 7] * 3, [2, 4, 4] * 3, [1, 1, 1], 20)
    other = space.from_ofa([3, 5, 3] * 3, [2, 3, 2] * 3, [1, 1, 1], 20)
    assert np.array_equal(one, other)
    assert np.array_equal(one, space.smallest())


def test_a_changed_space_says_so_in_its_name_and_is_made_again() -> None:
    changed = get("mbv3_tiny", resolutions=[28], n_classes=7, kernels=[3, 5, 7])
    assert changed.name == "mbv3_tiny-n_classes=7-resolutions=28"
    assert changed.n_classes == 7
    again = from_parameters(json.loads(json.dumps(changed.parameters)))
    assert (again.name, again.fingerprint) == (changed.name, changed.fingerprint)
    assert get("mbv3_tiny", n_classes=10).name == "mbv3_tiny"


def test_stages_can_be_given_as_plain_values() -> None:
    stages = [
        {"width": 16, "stride": 2, "depths": [1, 2], "squeeze_excite": True, "activation": "relu"}
    ]
    space = get("mbv3_tiny", stages=stages)
    assert space.name == "mbv3_tiny-stages=16s2d1.2se.relu"
    assert from_parameters(json.loads(json.dumps(space.parameters))).fingerprint == (
        space.fingerprint
    )


def test_what_is_no_setting_or_space_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"mbv3_tiny has no setting kernel; allowed: .*kernels"):
        get("mbv3_tiny", kernel=3)
    with pytest.raises(SpaceError, match="mobilenet is 1, allowed: 2, 3"):
        get("mbv3_tiny", mobilenet=1)
    with pytest.raises(RegistryError, match=r"unknown space 'mbv3_tinny'.*nearest: mbv3_tiny"):
        get("mbv3_tinny")


def test_what_batch_norms_add_is_part_of_the_space_and_of_no_operator() -> None:
    usual, proxyless = get("ofa_mbv3_w1.0"), get("ofa_proxyless_w1.3")
    assert usual.network(usual.smallest()).norm_epsilon == 1e-5
    assert proxyless.network(proxyless.smallest()).norm_epsilon == 1e-3
    other = get("ofa_proxyless_w1.3", norm_epsilon=1e-5)
    assert other.fingerprint != proxyless.fingerprint
    assert other.distinct_ops() == proxyless.distinct_ops()
    assert from_parameters(other.parameters).fingerprint == other.fingerprint


def test_presets_differ() -> None:
    assert len({get(name).fingerprint for name in PRESETS}) == len(PRESETS)


stages_drawn = st.lists(
    st.builds(
        Stage,
        width=st.sampled_from([8, 16, 24]),
        stride=st.sampled_from([1, 2]),
        depths=st.sampled_from([(1,), (2,), (1, 2), (1, 3), (2, 3), (1, 2, 4)]),
        squeeze_excite=st.booleans(),
        activation=st.sampled_from(["relu", "h_swish", "swish"]),
    ),
    min_size=1,
    max_size=3,
)
changes_drawn = st.fixed_dictionaries(
    {"stages": stages_drawn},
    optional={
        "stem_width": st.sampled_from([8, 16]),
        "stem_stride": st.sampled_from([1, 2]),
        "first_width": st.sampled_from([8, 16]),
        "kernels": st.sampled_from([(3,), (3, 5), (5, 3), (3, 5, 7)]),
        "expansions": st.sampled_from([(1,), (1, 4), (2, 3, 6)]),
        "resolutions": st.sampled_from([(17,), (16, 19), (32, 24, 9)]),
        "width_multiplier": st.sampled_from([0.5, 1.0, 1.3]),
        "input_channels": st.sampled_from([1, 3]),
        "n_classes": st.sampled_from([2, 11]),
        "mobilenet": st.sampled_from([2, 3]),
    },
)


@settings(max_examples=40)
@given(changes=changes_drawn, seed=st.integers(0, 99))
def test_the_whole_family_holds_together(changes: dict[str, Any], seed: int) -> None:
    space = ofa_mbv3("mbv3_tiny", **changes)
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [space.smallest()[None], space.largest()[None], space.sample(6, rng)], dtype=np.int8
    )
    macs = fold.macs(space)
    for row in rows:
        graph = space.network(row)
        config = space.describe(row)
        assert graph.in_shape == (
            space.settings.input_channels,
            config["resolution"],
            config["resolution"],
        )
        assert graph.out_shape == (space.settings.n_classes,)
        depths = [config[f"stage{s}.depth"] for s in range(1, len(space.settings.stages) + 1)]
        ran = [name for name, _ in space.ops(row)]
        assert len(ran) == 3 + sum(map(int, depths))
        assert np.array_equal(space.parse(config), row)
    program = BudgetProgram(macs)
    n_blocks = [
        sum((len(space.settings.kernels) * len(space.settings.expansions)) ** d for d in s.depths)
        for s in space.settings.stages
    ]
    n_networks = len(space.settings.resolutions) * int(np.prod(n_blocks))
    assert program.size() == n_networks
    assert program.least()[0] <= macs(rows).min()
    assert macs(rows).max() <= program.greatest()[0]
    again = from_parameters(json.loads(json.dumps(space.parameters)))
    assert (again.name, again.fingerprint) == (space.name, space.fingerprint)
