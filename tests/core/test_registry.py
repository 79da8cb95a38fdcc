"""The registry: built-in parts, parts that plug-ins bring, names that nobody has."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from edgenas.core import registry
from edgenas.core.errors import RegistryError
from edgenas.core.registry import Registry


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretends that an installed package has two parts of the sort `power meter`."""
    asked: list[str] = []
    points = EntryPoints(
        [
            EntryPoint("fractions", "fractions:Fraction", "edgenas.power_meter"),
            EntryPoint("broken", "no_such_module_anywhere:Part", "edgenas.power_meter"),
        ]
    )

    def find(*, group: str) -> EntryPoints:
        asked.append(group)
        return points.select(group=group)

    monkeypatch.setattr(registry, "entry_points", find)
    return asked


def test_parts_are_found_by_name() -> None:
    parts: Registry[object] = Registry("part")

    @parts.add("one")
    class One: ...

    assert parts.get("one") is One
    assert parts.names() == tuple(parts) == ("one",)


def test_a_name_is_given_once() -> None:
    parts: Registry[int] = Registry("part")
    parts.add("one")(1)
    with pytest.raises(RegistryError, match="part 'one' is registered twice"):
        parts.add("one")(2)
    assert parts.get("one") == 1


def test_an_unknown_name_lists_what_is_there() -> None:
    parts: Registry[int] = Registry("part")
    with pytest.raises(RegistryError, match=r"unknown part 'x'; allowed: none$"):
        parts.get("x")
    parts.add("onnxruntime")(1)
    parts.add("litert")(2)
    with pytest.raises(
        RegistryError, match="'onnxruntme'; allowed: litert, onnxruntime; nearest: onnxruntime"
    ):
        parts.get("onnxruntme")


def test_plugged_in_parts_are_loaded_when_asked_for(plugins: list[str]) -> None:
    parts: Registry[type] = Registry("power meter")
    parts.add("own")(int)
    assert parts.names() == ("broken", "fractions", "own")
    part = parts.get("fractions")
    assert part.__name__ == "Fraction"
    assert parts.get("fractions") is part
    assert set(plugins) == {"edgenas.power_meter"}
    told = r"power meter 'broken' of a plug-in cannot be loaded from no_such_mod.*No module named"
    with pytest.raises(RegistryError, match=told) as caught:
        parts.get("broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_broken_plug_in_is_left_out_with_one_warning(
    plugins: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    parts: Registry[type] = Registry("power meter")
    parts.add("own")(int)
    for _ in range(2):
        assert [name for name, _ in parts.items()] == ["fractions", "own"]
    (record,) = caplog.records
    assert "power meter 'broken'" in record.getMessage()


def test_a_built_in_part_is_not_replaced_by_a_plug_in(plugins: list[str]) -> None:
    parts: Registry[type] = Registry("power meter")
    parts.add("fractions")(int)
    assert parts.get("fractions") is int
    assert parts.names().count("fractions") == 1
