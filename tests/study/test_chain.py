"""The chain on steps that only write text: what is skipped, redone and kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenas.core.errors import TrainingError, UsageError, ValidationError
from edgenas.core.schema import parse_yaml
from edgenas.profiling.progress import silent
from edgenas.study.chain import Step, StepEvent, run_steps, up_to
from edgenas.study.context import Run
from edgenas.study.job import Job
from edgenas.study.run_folder import RunFolder
from tests.tiny_job import TINY_JOB


class Workshop:
    """Three steps: b and c read what a writes; settings are changed from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {"a": 1, "b": 1, "c": 1}
        self.texts: dict[str, str] = {"a": "A", "b": "B", "c": "C"}
        self.events: list[StepEvent] = []
        self.broken = ""

    def steps(self) -> list[Step]:
        return [self._step("a"), self._step("b", "a"), self._step("c", "a", "b")]

    def go(self, steps: list[Step] | None = None) -> str:
        """Runs the chain and returns what was done, e.g. ``ab``."""
        self.events = []
        run = Run(RunFolder(self.folder), parse_yaml(TINY_JOB, Job))
        run._is_possible = True
        run_steps(run, steps or self.steps(), progress=silent, on_step=self.events.append)
        return "".join(event.step for event in self.events if event.state == "done")

    def reason(self, step: str) -> str:
        return next(e.text for e in self.events if (e.step, e.state) == (step, "begins"))

    def _step(self, name: str, *needs: str) -> Step:
        return Step(name, needs, 1, self._inputs(name), self._make(name), lambda _: f"made {name}")

    def _inputs(self, name: str) -> Callable[[Run], dict[str, Any]]:
        return lambda _: {"setting": self.settings[name]}

    def _make(self, name: str) -> Callable[..., list[Path]]:
        def make(run: Run, _: object) -> list[Path]:
            if name == self.broken:
                raise TrainingError("broken")
            path = run.folder / f"{name}.txt"
            path.write_text(self.texts[name])
            return [path]

        return make


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_everything_is_done_once(workshop: Workshop) -> None:
    assert workshop.go() == "abc"
    assert workshop.reason("a") == "not done yet"
    assert workshop.go() == ""
    assert [event.state for event in workshop.events] == ["kept"] * 3
    assert workshop.events[0].text == "made a"


def test_changed_setting_redoes_what_depends_on_it(workshop: Workshop) -> None:
    workshop.go()
    workshop.settings["b"] = 2
    workshop.texts["b"] = "other"
    assert workshop.go() == "bc"
    assert workshop.reason("b") == "changed: setting"
    assert workshop.reason("c") == "changed: b"


def test_only_what_has_changed_is_named(workshop: Workshop) -> None:
    workshop.settings["a"] = {"phases": ({"epochs": 1, "sizes": (3, 5)},), "seed": 1}
    workshop.go()
    workshop.settings["a"] = {"phases": ({"epochs": 1, "sizes": (3, 5)},), "seed": 2}
    assert workshop.go() == "a"
    assert workshop.reason("a") == "changed: setting.seed"


def test_same_result_leaves_the_rest_alone(workshop: Workshop) -> None:
    workshop.go()
    workshop.settings["a"] = 2
    assert workshop.go() == "a"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("scratched")])
def test_damaged_output_is_made_anew(workshop: Workshop, damage: Callable[[Path], None]) -> None:
    workshop.go()
    damage(workshop.folder / "b.txt")
    assert workshop.go() == "b"
    assert workshop.reason("b") == "missing or damaged: b.txt"
    assert (workshop.folder / "b.txt").read_text() == "B"


def test_lost_or_damaged_record_redoes_its_step_only(workshop: Workshop) -> None:
    workshop.go()
    (workshop.folder / "steps" / "a.json").unlink()
    (workshop.folder / "steps" / "c.json").write_text("{")
    assert workshop.go() == "ac"


def test_failure_keeps_what_was_done(workshop: Workshop) -> None:
    workshop.broken = "b"
    with pytest.raises(TrainingError):
        workshop.go()
    workshop.broken = ""
    assert workshop.go() == "bc"


def test_newer_code_redoes_its_step(workshop: Workshop) -> None:
    workshop.go()
    first, second, third = workshop.steps()
    second = Step(
        second.name, second.needs, 2, second.inputs, second.make, second.summary, second.check
    )
    assert workshop.go([first, second, third]) == "b"


def test_check_looks_at_kept_steps_too(workshop: Workshop) -> None:
    workshop.go()
    step = workshop.steps()[0]

    def refuse(run: Run) -> None:
        raise UsageError(f"refused in {run.folder.path.name}")

    checked = Step(step.name, step.needs, 1, step.inputs, step.make, step.summary, refuse)
    with pytest.raises(UsageError, match="refused"):
        workshop.go([checked])


def test_files_that_failed_end_the_chain_when_all_is_done(workshop: Workshop) -> None:
    """Their step is done again, and so is the one whose file it has set aside."""

    def refuse(run: Run) -> None:
        (run.folder / "a.txt").rename(run.folder / "a.txt.failed")
        raise ValidationError("b failed", failed=("values",))

    first, second, third = workshop.steps()
    checked = replace(second, check=refuse)
    with pytest.raises(ValidationError, match="b failed") as failed:
        workshop.go([first, checked, third])
    assert failed.value.failed == ("values",)
    assert [event.step for event in workshop.events if event.state == "done"] == ["a", "b", "c"]
    assert workshop.go() == "ab"


def test_up_to_names_the_steps() -> None:
    workshop = Workshop(Path())
    assert [step.name for step in up_to(workshop.steps(), "b")] == ["a", "b"]
    with pytest.raises(UsageError, match="allowed: a, b, c"):
        up_to(workshop.steps(), "d")
