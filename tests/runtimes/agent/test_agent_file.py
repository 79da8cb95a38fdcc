"""The one file: the same bytes every time, and nothing in it that a device does not have."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgenas.runtimes.agent_file import agent_contents, agent_path, pack

PYTHON_OF_JETPACK_5 = (3, 8)
MODULES = sorted(agent_contents())


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path))


def test_the_same_modules_make_the_same_file() -> None:
    contents = agent_contents()
    backwards = dict(reversed(contents.items()))
    assert pack(contents) == pack(backwards)
    path = agent_path()
    assert path.read_bytes() == pack(contents)
    assert agent_path() == path


def test_another_content_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = agent_path()
    changed = {**agent_contents(), "edgenas/__init__.py": b"# changed\n"}
    monkeypatch.setattr("edgenas.runtimes.agent_file.agent_contents", lambda module: changed)
    assert agent_path() != before
    assert before.is_file()


def test_a_damaged_file_is_made_again() -> None:
    path = agent_path()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert agent_path().read_bytes() == whole


def test_all_modules_are_in_it() -> None:
    sources = Path(sys.modules["edgenas.runtimes"].__path__[0]) / "agent"
    with zipfile.ZipFile(agent_path()) as archive:
        names = set(archive.namelist())
    inside = {f"edgenas/runtimes/agent/{path.name}" for path in sources.glob("*.py")}
    packages = {"__main__.py", "edgenas/__init__.py", "edgenas/runtimes/__init__.py"}
    assert names == inside - {"edgenas/runtimes/agent/__main__.py"} | packages


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_for_old_pythons_and_needs_numpy_alone(name: str) -> None:
    tree = ast.parse(agent_contents()[name], feature_version=PYTHON_OF_JETPACK_5)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    own = {module for module in imported if module.startswith("edgenas.")}
    assert all(module.startswith("edgenas.runtimes.agent") for module in own)
    roots = {module.partition(".")[0] for module in imported - own}
    assert roots <= {*sys.stdlib_module_names, "numpy"}


@pytest.mark.parametrize("name", MODULES)
def test_no_module_subscripts_what_old_pythons_cannot(name: str) -> None:
    """Annotations are never evaluated there; everything else is."""
    pending: list[ast.AST] = [ast.parse(agent_contents()[name])]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in {"dict", "frozenset", "list", "set", "tuple", "type"}
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns"):
                values = value if isinstance(value, list) else [value]
                pending.extend(one for one in values if isinstance(one, ast.AST))


@pytest.mark.parametrize("name", MODULES)
def test_no_clock_that_can_be_set_is_read(name: str) -> None:
    tree = ast.parse(agent_contents()[name])
    read = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not read & {"time.time", "time.time_ns", "datetime.now", "time.localtime"}


def test_it_starts_beside_another_edgenas(tmp_path: Path) -> None:
    """A device may have edgenas installed, of another version; the file's own modules run."""
    (tmp_path / "edgenas").mkdir()
    (tmp_path / "edgenas" / "__init__.py").write_text("raise ImportError('the wrong edgenas')")
    done = subprocess.run(
        [sys.executable, str(agent_path())],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, b"")
