"""MobileNetV2 and V3: published counts, what the multiplier reaches, what cannot be asked."""

import numpy as np
import pytest

from edgenas.core.errors import SpaceError
from edgenas.oneshot.sharing import shared_weights
from edgenas.spaces import fold, get
from edgenas.spaces.mobilenets import PRESETS, mobilenet


def counts(preset: str, width: float, resolution: int) -> tuple[int, int]:
    space = mobilenet(preset)
    row = space.parse({"width": width, "resolution": resolution})[None]
    return int(fold.params(space)(row)[0]), int(fold.macs(space)(row)[0])


@pytest.mark.parametrize(
    ("preset", "width", "n_params_m", "n_macs_m"),
    [
        # As the papers and the authors' public tables give them.
        ("mobilenet_v2", 1.0, 3.50, 300),
        ("mobilenet_v2", 1.4, 6.1, 582),
        ("mobilenet_v2", 0.75, 2.6, 209),
        ("mobilenet_v2", 0.35, 1.68, 59),
        ("mobilenet_v3_large", 1.0, 5.48, 217),
        ("mobilenet_v3_small", 1.0, 2.54, 56),
    ],
)
def test_the_published_counts_come_out(
    preset: str, width: float, n_params_m: float, n_macs_m: float
) -> None:
    n_params, n_macs = counts(preset, width, 224)
    assert n_params / 1e6 == pytest.approx(n_params_m, abs=0.06)
    assert n_macs / 1e6 == pytest.approx(n_macs_m, abs=1)


@pytest.mark.parametrize("preset", PRESETS)
def test_wider_and_larger_costs_more(preset: str) -> None:
    space = get(preset)
    grid = np.indices(space.n_options).reshape(2, -1).T.astype(np.int8)
    for name in ("n_macs", "n_params", "peak_activation_kib"):
        values = fold.COUNTS[name](space)(grid).reshape(space.n_options)
        assert (np.diff(values, axis=0) > 0).all() or name == "peak_activation_kib"
        assert (np.diff(values, axis=1) >= 0).all()
    assert space.input_shape(space.largest())[1] == max(space.settings.resolutions)  # type: ignore[attr-defined]


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.endswith("_tiny")])
def test_tiny_networks_leave_a_map_of_four_pixels(preset: str) -> None:
    space = mobilenet(preset)
    row = space.parse({"width": 1.0, "resolution": 28})
    assert dict(space.ops(row))["head"].in_shape[1:] == (4, 4)


def test_networks_of_a_family_share_no_weights() -> None:
    with pytest.raises(SpaceError, match="no shared weights"):
        shared_weights(mobilenet("mobilenet_v2_tiny"))


@pytest.mark.parametrize("widths", [[], [0.0, 1.0], [-1]])
def test_widths_are_above_zero(widths: list[float]) -> None:
    with pytest.raises(SpaceError, match="widths are"):
        mobilenet("mobilenet_v2", widths=widths)
