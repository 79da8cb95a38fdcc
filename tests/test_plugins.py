"""Plug-ins: found by their entry points alone, with recipes, engines and settings of their own."""

import ast
import logging
import re
import shutil
import textwrap
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgenas.core.artifact import FORMATS, Artifact
from edgenas.core.errors import RegistryError, SchemaError, UsageError
from edgenas.core.files import sha256_of
from edgenas.core.registry import Registry
from edgenas.costs.table import CostTable
from edgenas.exporters import EXPORTERS, Exporter, get
from edgenas.exporters.manifest import read_manifest
from edgenas.hardware.description import ENGINE_SETTINGS
from edgenas.hardware.device import load_device
from edgenas.profiling.workload import LOWERINGS
from edgenas.runtimes import RUNTIMES
from edgenas.runtimes.agent_file import agent_contents, agent_path
from edgenas.runtimes.base import runtimes_on
from edgenas.study.api import compile_job
from edgenas.study.doctor import examine
from edgenas.study.job import load_job
from edgenas.testing.exporter import ExporterContract, small_request
from edgenas.testing.missing import skip_outside_ci
from edgenas.testing.runtime_contract import RuntimeContract
from tests.tiny_job import write_job

ROOT = Path(__file__).resolve().parents[1]
FAKE = ROOT / "tests" / "plugin"
REGISTRIES: tuple[Registry[object], ...] = (
    EXPORTERS,
    FORMATS,
    LOWERINGS,
    RUNTIMES,
    ENGINE_SETTINGS,
)  # type: ignore[assignment]
PLUGINS = sorted(path.parent for path in (ROOT / "examples/plugins").glob("*/pyproject.toml"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package on the path of this process and its children, with metadata as pip leaves it."""
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    yield
    for registry in REGISTRIES:
        registry._parts.pop("fake", None)
        registry._warned.clear()


@pytest.mark.usefixtures("fake")
class TestExporter(ExporterContract):
    @pytest.fixture
    def exporter(self) -> Exporter:
        return get("fake")


@pytest.mark.usefixtures("fake")
class TestRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> str:
        return "fake"


@pytest.mark.usefixtures("fake")
def test_its_parts_are_found_by_name(tmp_path: Path) -> None:
    for registry in REGISTRIES:
        assert "fake" in registry.names()
    path = get("fake").export(small_request(), tmp_path / "model.fake").path
    assert Artifact.of(path).format == "fake"
    with load_device("local") as device:
        assert "fake" in runtimes_on(device.description)


def test_without_it_nothing_knows_it(tmp_path: Path) -> None:
    (tmp_path / "model.fake").touch()
    with pytest.raises(UsageError, match=r"not a model file; allowed suffixes: .*\.onnx"):
        Artifact.of(tmp_path / "model.fake")
    with pytest.raises(RegistryError, match="unknown exporter 'fake'"):
        get("fake")


@pytest.mark.usefixtures("fake")
def test_its_recipe_lies_beside_it_and_the_users_own_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get("fake").recipe.tolerance == 2e-5
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))
    folder = tmp_path / "export" / "recipes"
    folder.mkdir(parents=True)
    shipped = FAKE / "edgenas_fake" / "recipes" / "fake-float32.yaml"
    (folder / shipped.name).write_text(shipped.read_text().replace("2.0e-5", "3.0e-5"))
    assert get("fake").recipe.tolerance == 3e-5


DEVICE = "schema_version: 1\nid: mine\nextends: local\nruntimes: {fake: {spice: 3}}\n"


@pytest.mark.usefixtures("fake")
def test_device_files_have_settings_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(DEVICE)
    with load_device(path) as device:
        settings = RUNTIMES.get("fake")().settings(device.description)
        assert settings.decisive["spice"] == 3
        assert device.description.runtimes.onnxruntime.threads == 1
        assert "fake" in device.description.runtimes.model_fields_set
    path.write_text(DEVICE.replace("spice", "spize"))
    with pytest.raises(
        SchemaError, match=r"unknown key 'spize' in runtimes.fake; .*nearest: spice"
    ):
        load_device(path)
    path.write_text(DEVICE.replace("fake", "fike"))
    with pytest.raises(SchemaError, match=r"unknown key 'fike' in runtimes; .*nearest: fake"):
        load_device(path)


def test_device_files_without_it_know_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(DEVICE)
    with pytest.raises(SchemaError, match="unknown key 'fake' in runtimes"):
        load_device(path)


@pytest.mark.usefixtures("fake")
def test_its_part_of_the_measuring_process_travels_with_it() -> None:
    with zipfile.ZipFile(agent_path("edgenas_fake.device")) as archive:
        names = set(archive.namelist())
        assert archive.read("edgenas_fake/__init__.py") == b""
        assert b"ENGINES" in archive.read("edgenas_fake/device.py")
    assert names - set(agent_contents()) == {"edgenas_fake/__init__.py", "edgenas_fake/device.py"}
    for module in ("edgenas_fake", "edgenas_fake.nothing"):
        with pytest.raises(UsageError, match=f"needs {module}, which is no Python file"):
            agent_path(module)


@pytest.mark.slow
@pytest.mark.usefixtures("fake")
def test_a_job_runs_with_it(tmp_path: Path) -> None:
    job = write_job(
        tmp_path,
        ("data: {source: digits}", "data: {source: digits}\ndevice: {runtime: fake}"),
        ("[onnx, tflite]", "[fake, onnx]"),
        ("n_sessions: 3", "n_sessions: 2"),
    )
    result = compile_job(job, tmp_path / "run")
    assert [path.name for path in result.files] == ["model.fake", "model.onnx"]
    manifest = read_manifest(result.files[0])
    assert manifest.file.sha256 == sha256_of(result.files[0])
    assert manifest.target == "fake"
    assert manifest.versions["edgenas-fake"] == "1.2"
    assert manifest.options["tolerance"] == 2e-5
    assert manifest.measured_latency is not None
    assert manifest.measured_latency.runtime == "fake"
    table = CostTable.load(tmp_path / "run/tables/fake-float32.csv")
    assert table.passport.runtime.name == "fake"
    assert result.report is not None
    assert "edgenas-fake" in result.report.read_text(encoding="utf-8")
    again = write_job(tmp_path, ("n_sessions: 3", "n_sessions: 2"))
    compile_job(again, tmp_path / "run", until="export")
    assert not (tmp_path / "run" / "model.fake").exists()


# -- one that is broken --------------------------------------------------------------------


@pytest.fixture
def broken(fake: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata of a plug-in whose code cannot be imported."""
    folder = tmp_path / "site" / "edgenas_broken-1.0.dist-info"
    shutil.copytree(FAKE / "edgenas_fake-1.2.dist-info", folder)
    for name in ("METADATA", "entry_points.txt"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("fake", "broken"))
    monkeypatch.syspath_prepend(folder.parent)


@pytest.mark.usefixtures("broken")
def test_a_broken_one_is_named_and_stops_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = r"runtime 'broken' of edgenas-broken cannot be loaded from edgenas_broken.runtime:Fake"
    with pytest.raises(RegistryError, match=told):
        RUNTIMES.get("broken")
    path = get("fake").export(small_request(), tmp_path / "model.fake").path
    with load_device("local") as device, caplog.at_level(logging.WARNING):
        found = runtimes_on(device.description)
        assert {"fake", "onnxruntime"} <= set(found)
        assert "broken" not in found
        assert Artifact.of(path).format == "fake"
    assert any("edgenas-broken" in record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("broken")
def test_the_doctor_names_plug_ins_and_the_broken_one() -> None:
    found = {one.name: one for one in examine("local", noise=False).observations}
    assert found["export to fake"].severity == "ok"
    assert found["runtime fake"].severity == "ok"
    for name in ("export to broken", "runtime broken"):
        assert found[name].severity == "warning"
        assert "edgenas-broken" in found[name].remedy


# -- those in examples/plugins -------------------------------------------------------------


def public() -> dict[str, set[str]]:
    """Returns what docs/extending.md names as public: names by module."""
    _, _, text = (ROOT / "docs" / "extending.md").read_text().partition("## What is public")
    rows = re.findall(r"^\| `(edgenas[a-z_.]*)` \| (.+) \|$", text, re.MULTILINE)
    return {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}


def private_uses(text: str, own: str) -> list[str]:
    """Returns what a module of the plug-in `own` takes of edgenas that is not public."""
    allowed, found = public(), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] == "edgenas"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # for importlib
            module = node.value if re.fullmatch(r"edgenas(\.\w+)+", node.value) else ""
            found += [module] if module and module not in allowed else []
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if module.startswith("edgenas") and module.partition(".")[0] != own:
                names = {alias.name for alias in node.names} - allowed.get(module, set())
                found += [f"{module}.{name}" for name in sorted(names)]
    return found


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_they_use_nothing_but_the_public_api(plugin: Path) -> None:
    own = plugin.name.replace("-", "_")
    paths = sorted(plugin.rglob("*.py"))
    assert len(paths) > 5
    used = {path.name: private_uses(path.read_text(), own) for path in paths}
    assert {name: found for name, found in used.items() if found} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import edgenas.study.chain", ["edgenas.study.chain"]),
        ("import edgenas", ["edgenas"]),
        ("from edgenas import testing", ["edgenas.testing"]),
        ("from edgenas.study import chain", ["edgenas.study.chain"]),
        ("from edgenas.core.extras import EXTRAS, require", ["edgenas.core.extras.EXTRAS"]),
        ("from edgenas.exporters.base import _FARTHEST", ["edgenas.exporters.base._FARTHEST"]),
        ("from edgenas_other.device import x", ["edgenas_other.device.x"]),
        ("import_module('edgenas.study.chain')", ["edgenas.study.chain"]),
        ("from edgenas_own.device import x\nfrom edgenas.core.extras import require", []),
    ],
)
def test_other_uses_are_seen(line: str, found: list[str]) -> None:
    assert private_uses(line, "edgenas_own") == found


def test_nothing_public_begins_with_an_underscore() -> None:
    names = {f"{module}.{name}" for module, some in public().items() for name in some}
    assert len(names) > 50
    assert not [name for name in names if "._" in name]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_what_they_override_is_documented(plugin: Path) -> None:
    bases = {"Exporter", "AgentRuntime", "Model"}
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "extending.md").read_text()))
    seen = set()
    for path in sorted((plugin / plugin.name.replace("-", "_")).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and {ast.unparse(b) for b in node.bases} & bases:
                seen |= members(node)
    assert {"serialise", "device_module", "fill"} <= seen
    assert seen - told - OWN_MEMBERS == set()


OWN_MEMBERS = {"core"}
"""Of the plug-ins' classes, what edgenas does not know."""


def members(node: ast.ClassDef) -> set[str]:
    """Returns the public names that the body of a class gives."""
    found = set()
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            found.add(one.name)
        elif isinstance(one, ast.AnnAssign):
            found.add(ast.unparse(one.target))
        elif isinstance(one, ast.Assign):
            found |= {ast.unparse(target) for target in one.targets}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_the_jobs_in_their_readmes_are_jobs(plugin: Path, tmp_path: Path) -> None:
    text = (plugin / "README.md").read_text()
    (block,) = re.findall(r"^    schema_version: 1\n(?:    .*\n)+", text, re.MULTILINE)
    path = tmp_path / "job.yaml"
    path.write_text(textwrap.dedent(block))
    job = load_job(path)
    name = plugin.name.removeprefix("edgenas-")
    assert job.device.runtime == name
    assert name in job.export.targets
    assert (
        (plugin / plugin.name.replace("-", "_") / "recipes")
        .joinpath(f"{name}-{job.device.precision}.yaml")
        .is_file()
    )


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_they_pin_the_engine_to_a_range(plugin: Path) -> None:
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    engine = plugin.name.removeprefix("edgenas-")
    (pin,) = [one for one in project["dependencies"] if one.startswith(f"{engine}>")]
    assert re.fullmatch(rf"{engine}>=[0-9.]+,<[0-9.]+", pin)


@pytest.mark.usefixtures("fake")
def test_a_suffix_that_is_taken_stays_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgenas_fake.SUFFIX", ".onnx", raising=False)
    (tmp_path / "model.onnx").touch()
    assert Artifact.of(tmp_path / "model.onnx").format == "onnx"
    assert "the suffix .onnx of the model format 'fake' is that of 'onnx'" in caplog.text


def test_what_is_called_public_is_there() -> None:
    for module, names in public().items():
        found = import_module(module)
        assert all(hasattr(found, name) for name in names), module


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_their_entry_points_lead_somewhere(plugin: Path) -> None:
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    assert project["name"] == plugin.name
    groups = project["entry-points"]
    assert {group.removeprefix("edgenas.").replace("_", " ") for group in groups} == {
        registry.sort for registry in REGISTRIES
    }
    for points in groups.values():
        (value,) = points.values()
        module, _, name = value.partition(":")
        path = plugin / f"{module.replace('.', '/')}.py"
        path = path if path.exists() else plugin / module / "__init__.py"
        if path.exists():
            assert re.search(rf"^(class|def) {name}\b|^{name} =", path.read_text(), re.MULTILINE)
        else:
            assert name in public()[module]


def missing(name: str) -> str | None:
    """Returns why a plug-in cannot be tried, None if it can."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return f"the plug-in is not installed: pip install -e examples/plugins/{name}"
    return None if find_spec("openvino") else "openvino is not installed"


def test_the_one_for_openvino_is_known_like_what_is_built_in() -> None:
    skip_outside_ci(missing("edgenas-openvino"), pytest.skip)
    found = {one.name: one for one in examine("local", noise=False).observations}
    assert found["export to openvino"].severity == "ok"
    assert found["runtime openvino"].severity == "ok"
