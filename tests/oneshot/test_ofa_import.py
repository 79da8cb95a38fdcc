"""Import of public checkpoints: found by their shapes, exact, refused with what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgenas import spaces
from edgenas.core.errors import CheckpointError, SchemaError, SpaceError, StorageError, UsageError
from edgenas.core.files import sha256_of
from edgenas.oneshot.description import description_path, load_description
from edgenas.oneshot.ofa_import import import_checkpoint, load_imported, public_state
from edgenas.oneshot.supernet import Supernet
from edgenas.spaces.base import SearchSpace


def _public(space: SearchSpace) -> dict[str, Tensor]:
    supernet = Supernet(space, seed=7, statistics=True)
    return {name: value.clone() for name, value in public_state(supernet, space).items()}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return _public(spaces.get("mbv3_tiny"))


def _checkpoint(state: dict[str, Tensor], folder: Path) -> Path:
    path = folder / "public.pth"
    torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mbv3_tiny", {}),
        ("mbv3_tiny", {"n_classes": 37, "input_channels": 3}),
        ("mbv3_tiny", {"kernels": [7]}),
        ("mbv3_tiny", {"kernels": [3, 5]}),
        ("resnet_tiny", {"n_classes": 2}),
    ],
)
def test_spaces_are_told_by_shapes(name: str, changes: dict[str, object], tmp_path: Path) -> None:
    space = spaces.get(name, **changes)
    out = tmp_path / "folder" / "imported.safetensors"
    description = import_checkpoint(_checkpoint(_public(space), tmp_path), out)
    assert description.space.name == space.name
    assert description.space.make().fingerprint == space.fingerprint
    found, supernet = load_imported(out)
    assert found.fingerprint == space.fingerprint
    theirs = Supernet(space, seed=7, statistics=True).state_dict()
    mine = supernet.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_the_description_says_what_it_is_and_where_it_comes_from(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    source, out = _checkpoint(state, tmp_path), tmp_path / "imported.safetensors"
    description = import_checkpoint(source, out)
    assert load_description(out) == description
    assert description_path(out) == tmp_path / "imported.meta.yaml"
    assert description.source.file == "public.pth"
    assert description.source.sha256 == sha256_of(source)
    assert description.source.keys == "current"
    assert description.sha256 == sha256_of(out)
    supernet = Supernet(spaces.get("mbv3_tiny"))
    assert description.n_params == sum(p.numel() for p in supernet.parameters())
    assert description.space.weights_fingerprint == supernet.weights_fingerprint
    assert description.space.command_options == "--space mbv3_tiny"


def test_settings_may_be_given(state: dict[str, Tensor], tmp_path: Path) -> None:
    source, out = _checkpoint(state, tmp_path), tmp_path / "imported.safetensors"
    description = import_checkpoint(
        source, out, preset="mbv3_tiny", settings={"resolutions": [16, 20]}
    )
    assert description.space.settings == {"resolutions": [16, 20]}
    space, _ = load_imported(out)
    assert space.input_shape(space.largest()) == (1, 20, 20)
    with pytest.raises(CheckpointError, match=r"classifier\.linear\.weight \(10x480 for 3x480\)"):
        import_checkpoint(source, out, preset="mbv3_tiny", settings={"n_classes": 3})
    with pytest.raises(SpaceError, match="no setting depth"):
        import_checkpoint(source, out, preset="mbv3_tiny", settings={"depth": 3})


def test_half_precision_is_widened_and_counters_are_optional(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    plain = {name: v.half() for name, v in state.items() if "num_batches" not in name}
    source, out = tmp_path / "public.safetensors", tmp_path / "imported.safetensors"
    save_file(plain, source)
    import_checkpoint(source, out)
    space, supernet = load_imported(out)
    found = public_state(supernet, space)
    assert all(torch.equal(found[name], value.float()) for name, value in plain.items())


def test_what_differs_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    odd = dict(state)
    del odd["first_conv.bn.bias"]
    odd["blocks.1.conv.point_linear.bn.bn.bias"] = torch.zeros(7)
    odd["blocks.2.conv.point_linear.bn.bias"] = torch.zeros(24)
    odd["extra.weight"] = torch.zeros(2, 3)
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(_checkpoint(odd, tmp_path), tmp_path / "imported.safetensors")
    message = str(caught.value)
    assert "nearest is mbv3_tiny" in message
    assert "1 missing: first_conv.bn.bias (16)" in message
    assert "1 of another shape: blocks.1.conv.point_linear.bn.bn.bias (7 for 24)" in message
    assert "1 that it has not: extra.weight (2x3)" in message
    assert "1 under two names: blocks.2.conv.point_linear.bn.bn.bias = " in message
    assert not list(tmp_path.glob("imported*"))


def test_other_networks_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    source, out = _checkpoint(state, tmp_path), tmp_path / "imported.safetensors"
    with pytest.raises(CheckpointError, match=r"not the weights of ofa_mbv3_w1\.0-.* and \d+ more"):
        import_checkpoint(source, out, preset="ofa_mbv3_w1.0")
    with pytest.raises(UsageError, match="no supernet of fbnet; allowed: ofa_mbv3"):
        import_checkpoint(source, out, preset="fbnet")
    foreign = _checkpoint({"layer.weight": torch.zeros(2)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"none of its tensors is one of theirs: layer\.wei"):
        import_checkpoint(foreign, out)


def test_broken_values_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    odd = {**state, "first_conv.bn.bias": torch.full((16,), float("nan"))}
    with pytest.raises(CheckpointError, match=r"NaN or infinite .* first_conv\.bn\.bias"):
        import_checkpoint(_checkpoint(odd, tmp_path), tmp_path / "imported.safetensors")


def test_the_checkpoint_is_not_overwritten(state: dict[str, Tensor], tmp_path: Path) -> None:
    source = tmp_path / "public.safetensors"
    save_file(state, source)
    before = sha256_of(source)
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        import_checkpoint(source, source)
    with pytest.raises(UsageError, match=r"written to a \.safetensors file"):
        import_checkpoint(source, tmp_path / "imported.pth")
    assert sha256_of(source) == before


def test_weights_and_description_belong_together(state: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "imported.safetensors"
    with pytest.raises(StorageError, match=r"no description .* make both with: edgenas ofa import"):
        load_imported(out)
    import_checkpoint(_checkpoint(state, tmp_path), out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StorageError, match=r"its SHA-256 is .* import public\.pth again"):
        load_imported(out)
    out.unlink()
    with pytest.raises(StorageError, match="cannot read"):
        load_imported(out)
    beside = description_path(out)
    beside.write_text(beside.read_text().replace("n_params", "n_parms"))
    with pytest.raises(SchemaError, match="unknown key 'n_parms'"):
        load_description(out)


def test_only_statistics_make_a_public_state() -> None:
    space = spaces.get("mbv3_tiny")
    with pytest.raises(UsageError, match="have batch norm statistics; this has none"):
        public_state(Supernet(space), space)
