"""The repository's promises: what ships, what imports what, pins, scripts, sizes, links."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgenas
from edgenas.core.extras import EXTRAS
from edgenas.core.paths import DATA_FOLDERS, data_folder

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "edgenas").rglob("*.py"))
PLUGINS = ROOT / "examples" / "plugins"
WITH_PLUGINS = [*MODULES, *sorted(PLUGINS.glob("*/edgenas_*/*.py"))]
TESTED_PLUGIN = tomllib.loads((PLUGINS / "edgenas-openvino" / "pyproject.toml").read_text())
TORCH_FREE = ("core", "spaces", "pareto", "costs", "profiling", "searchers", "hardware", "runtimes")


def run_python(code: str, *, cwd: Path, **environment: str) -> str:
    """Returns what `code` prints in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files_in(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file under `folder` by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -- what ships ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout, unpacked: what `pip install` leaves in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    zipfile.ZipFile(archive).extractall(folder / "site")  # noqa: S202 - our own archive
    return folder / "site"


@pytest.mark.parametrize("name", DATA_FOLDERS)
def test_wheel_carries_data_folders_whole(wheel: Path, name: str) -> None:
    assert files_in(wheel / "edgenas" / "_data" / name) == files_in(ROOT / name)


@pytest.mark.parametrize("name", DATA_FOLDERS)
def test_installed_wheel_finds_its_own_data(wheel: Path, tmp_path: Path, name: str) -> None:
    code = f"from edgenas.core.paths import data_folder; print(data_folder({name!r}))"
    found = run_python(code, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert Path(found) == wheel / "edgenas" / "_data" / name


@pytest.mark.parametrize("name", ["device", "templates"])
def test_wheel_carries_what_bundles_are_made_of(wheel: Path, name: str) -> None:
    folder = f"edgenas/exporters/bundle/{name}"
    ours = {key: value for key, value in files_in(ROOT / folder).items() if ".pyc" not in key}
    assert len(ours) > 3
    assert files_in(wheel / folder) == ours


def test_wheel_is_typed_and_licensed(wheel: Path) -> None:
    assert (wheel / "edgenas" / "py.typed").is_file()
    licence = next(wheel.glob("edgenas-*.dist-info")) / "licenses" / "LICENSE"
    assert "Apache License" in licence.read_text()
    assert not (wheel / "tests").exists()


def test_checkout_finds_its_own_data() -> None:
    assert [data_folder(name) for name in DATA_FOLDERS] == [ROOT / name for name in DATA_FOLDERS]


def test_editable_install_copies_no_data(tmp_path: Path) -> None:
    archive = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"]))
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        (pointer,) = [name for name in names if name.endswith(".pth")]
        assert content.read(pointer).decode().strip() == str(ROOT)
    assert not [name for name in names if "_data" in name]


def test_source_archive_can_build_the_wheel(tmp_path: Path) -> None:
    archive = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    wanted = {"hatch_build.py", "pyproject.toml", "LICENSE", "edgenas/py.typed"}
    assert wanted | {f"{name}/README.md" for name in DATA_FOLDERS} <= names
    assert not {name for name in names if name.startswith(("runs/", ".venvs/"))}


# -- what imports what ---------------------------------------------------------------------


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, edgenas, edgenas.cli; print(*sys.modules)"
    loaded = set(run_python(code, cwd=ROOT).split())
    heavy = {"torch", "onnx", "onnxruntime", "ai_edge_litert", "tensorrt_rtx", "sklearn", "plotly"}
    assert not loaded & heavy


ASYNCSSH = ("ssh_link", "ssh_channel", "ssh_hosts", "ssh_process")
"""Modules that the ssh connector loads when it connects."""


@pytest.mark.parametrize("package", TORCH_FREE)
def test_package_imports_without_any_extra(package: str) -> None:
    names = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in MODULES
        if path.relative_to(ROOT).parts[1] == package
        and path.stem not in ASYNCSSH
        and path.parent != ROOT / "edgenas/searchers/neural"
    ]
    # As if no extra were installed; None in sys.modules would trip libraries that look there.
    code = f"""
import importlib, sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name in {sorted(EXTRAS)!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
for name in {names!r}:
    importlib.import_module(name.removesuffix(".__init__"))
"""
    run_python(code, cwd=ROOT)


# -- versions ------------------------------------------------------------------------------


def requirements() -> list[Requirement]:
    """Returns what the package, all its extras and the plug-in that is tested with it ask for."""
    extras = PROJECT["optional-dependencies"].values()
    plugin = TESTED_PLUGIN["project"]["dependencies"]
    return [Requirement(line) for line in chain(PROJECT["dependencies"], *extras, plugin)]


@pytest.mark.parametrize("wanted", requirements(), ids=str)
def test_every_requirement_is_pinned(wanted: Requirement) -> None:
    if wanted.name == "edgenas":
        assert wanted.extras <= set(PROJECT["optional-dependencies"])
        return
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins[canonicalize_name(wanted.name)] in wanted.specifier


def test_pins_are_exact_sorted_and_without_local_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    names = [pin.split("==")[0] for pin in pins]
    assert names == sorted(set(names))
    assert "torch==2.13.0" in pins


def test_version_and_extras_agree_with_the_code() -> None:
    assert edgenas.__version__ == PROJECT["version"]
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


# -- style that no linter holds ------------------------------------------------------------


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: contracts may be as long as they need."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", WITH_PLUGINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) >= 60
    ]
    assert not long


@pytest.mark.parametrize("path", WITH_PLUGINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_pickled(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
        # How torch says that it refuses a file.
        if [alias.name for alias in node.names] != ["UnpicklingError"]
    }
    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}


def documents() -> list[Path]:
    """Returns the Markdown files of the project."""
    folders = ("docs", "changelog.d", "benchmarks", "examples", *DATA_FOLDERS)
    return [*ROOT.glob("*.md"), *(path for name in folders for path in (ROOT / name).rglob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    inside = [target for target in targets if "://" not in target]
    assert not [target for target in inside if not (path.parent / target).exists()]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_in_documents_runs(path: Path, tmp_path: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        run_python(code, cwd=tmp_path, PYTHONPATH=str(ROOT))


# -- scripts -------------------------------------------------------------------------------


def run_script(code: str, *, path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs bash `code` after scripts/environment.sh, with only `path` to find programs on."""
    return subprocess.run(
        ["/bin/bash", "-c", f'set -euo pipefail; source "{ROOT}/scripts/environment.sh"; {code}'],
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def program(folder: Path, name: str, body: str) -> None:
    """Puts a shell script called `name` into `folder`."""
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def tools(folder: Path) -> str:
    """Links what every script needs into `folder`, and no Python; returns the search path."""
    for name in ("dirname", "cat", "id"):
        (folder / name).symlink_to(Path("/usr/bin") / name)
    return str(folder)


def test_scripts_say_when_python_is_missing(tmp_path: Path) -> None:
    done = run_script("find_python", path=tools(tmp_path))
    assert done.returncode == 1
    assert "Python 3.11 or 3.12 was not found" in done.stderr


def test_scripts_pass_over_a_python_that_does_not_run(tmp_path: Path) -> None:
    path = tools(tmp_path)
    program(tmp_path, "python3.11", "exit 127")
    program(tmp_path, "python3.12", f'exec {sys.executable} "$@"')
    done = run_script('find_python; echo "$PYTHON"', path=path)
    assert done.stdout.strip() == str(tmp_path / "python3.12")


def test_scripts_refuse_a_named_python_that_is_too_old(tmp_path: Path) -> None:
    program(tmp_path, "old", "exit 1")
    old = str(tmp_path / "old")
    done = run_script("find_python", path=tools(tmp_path), EDGENAS_PYTHON=old)
    assert done.returncode == 1
    assert old in done.stderr


def test_scripts_say_when_environments_cannot_be_made(tmp_path: Path) -> None:
    path = tools(tmp_path)
    refuse = f'[[ "$2" == *ensurepip* ]] && exit 1; exec {sys.executable} "$@"'
    program(tmp_path, "python3.11", refuse)
    code = f'ROOT="{tmp_path}/copy"; make_venv probe all'
    (tmp_path / "copy").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "hatch_build.py"):
        (tmp_path / "copy" / name).touch()
    done = run_script(code, path=path)
    assert done.returncode == 1
    assert "module venv or ensurepip is missing" in done.stderr


def test_scripts_go_on_without_packages_when_not_root(tmp_path: Path) -> None:
    path = tools(tmp_path)
    (tmp_path / "id").unlink()
    program(tmp_path, "id", "echo 1000")
    program(tmp_path, "dpkg-query", '[[ "${*: -1}" == here ]] && echo -n installed; true')
    program(tmp_path, "apt-get", f"touch {tmp_path}/called")
    done = run_script('want_debian "a reason" here absent; echo went on', path=path)
    assert done.returncode == 0
    assert done.stdout.strip() == "went on"
    assert "sudo apt-get install absent" in done.stderr
    assert not (tmp_path / "called").exists()


def test_scripts_install_packages_as_root_and_survive_a_failure(tmp_path: Path) -> None:
    path = tools(tmp_path)
    (tmp_path / "id").unlink()
    program(tmp_path, "id", "echo 0")
    program(tmp_path, "dpkg-query", "exit 1")
    program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/calls; [[ "$1" == update ]]')
    done = run_script('want_debian "a reason" one two; echo went on', path=path)
    assert done.stdout.strip() == "went on"
    assert "could not install one two" in done.stderr
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install -y")
    assert install.endswith("one two")


@pytest.fixture
def headers(tmp_path: Path) -> tuple[str, str]:
    """A search path with a Debian that has no package of the headers, and code that asks for it."""
    path = tools(tmp_path)
    for name in ("mkdir", "mktemp", "rm", "mv"):
        (tmp_path / name).symlink_to(Path("/usr/bin") / name)
    program(tmp_path, "apt-cache", "true")
    program(tmp_path, "dpkg-query", "exit 1")
    program(
        tmp_path,
        "apt-get",
        f'echo "$@" >> {tmp_path}/calls\n'
        '[[ "${*: -2:1}" != download ]] || : > libonnxruntime-dev_1_amd64.deb',
    )
    unpack = "mkdir -p content/usr/include/onnxruntime; : > content/usr/include/onnxruntime/"
    program(tmp_path, "dpkg-deb", unpack + "onnxruntime_cxx_api.h")
    return path, f'ROOT="{tmp_path}/copy"; want_onnxruntime_headers "a reason"; echo went on'


needs_keys = pytest.mark.skipif(
    not Path("/usr/share/keyrings/debian-archive-keyring.gpg").is_file(), reason="no Debian"
)


@needs_keys
def test_scripts_take_headers_out_of_a_later_debians_package(
    tmp_path: Path, headers: tuple[str, str]
) -> None:
    path, code = headers
    for _ in range(2):
        done = run_script(code, path=path)
        assert done.stdout.strip() == "went on"
    assert (tmp_path / "copy/.venvs/onnxruntime/include/onnxruntime_cxx_api.h").is_file()
    update, download = (tmp_path / "calls").read_text().splitlines()  # the second time neither
    assert update.endswith("update")
    assert download.endswith("download libonnxruntime-dev")


@needs_keys
def test_scripts_go_on_without_headers(tmp_path: Path, headers: tuple[str, str]) -> None:
    path, code = headers
    program(tmp_path, "apt-get", "exit 100")
    done = run_script(code, path=path)
    assert done.stdout.strip() == "went on"
    assert "could not fetch libonnxruntime-dev; going on without (a reason)" in done.stderr
    assert not (tmp_path / "copy").exists()


def test_scripts_install_the_headers_where_debian_has_them(
    tmp_path: Path, headers: tuple[str, str]
) -> None:
    path, code = headers
    program(tmp_path, "apt-cache", "echo libonnxruntime-dev:")
    (tmp_path / "id").unlink()
    program(tmp_path, "id", "echo 1000")
    done = run_script(code, path=path)
    assert "sudo apt-get install libonnxruntime-dev" in done.stderr
    assert done.stdout.strip() == "went on"
