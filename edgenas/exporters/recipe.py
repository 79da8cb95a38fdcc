"""Export recipes: how a target's file is written and how closely it must agree, as strict YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from edgenas.core.errors import ExportError, choices
from edgenas.core.paths import search_path
from edgenas.core.precision import CODED, Precision
from edgenas.core.schema import StrictModel, load_yaml
from edgenas.exporters.calibration import Calibration

R = TypeVar("R", bound="Recipe")


class Recipe(StrictModel):
    """What every recipe says: how a file is written, and what each of its checks tolerates.

    Attributes:
        tolerance: greatest difference of the logits over the greatest logit.
        least_sqnr_db: of the logits, in place of `tolerance` where values or weights are codes.
        least_agreement: share of the reference images that the file and the network classify alike.
        accuracy_tolerance: what the file may lose on the test part, a fraction.
        most_outside: operators that may run outside the engine's accelerated part, or in float32
            for lack of a kernel of the precision; None: they are told only.
        most_file_kib: the greatest size of the file; None: any.
        most_load_ms: on the device, from opening the file to being ready; None: any.
        most_peak_memory_kib: on the device, what loading and the first run add at most; None: any.
        timeout_s: how long the checks may take before their process is ended.
        calibration: how the ranges of 8-bit values are found; no other precision has any.
    """

    schema_version: Literal[1]
    target: str
    precision: Precision
    tolerance: float | None = Field(default=None, gt=0, le=1)
    least_sqnr_db: float | None = Field(default=None, ge=0)
    least_agreement: float = Field(default=1.0, ge=0, le=1)
    accuracy_tolerance: float = Field(default=0.0, ge=0, le=1)
    most_outside: int | None = Field(default=None, ge=0)
    most_file_kib: float | None = Field(default=None, gt=0)
    most_load_ms: float | None = Field(default=None, gt=0)
    most_peak_memory_kib: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=600.0, gt=0)
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse what does not fit the precision: an unread line would be a false promise."""
        is_coded = self.precision in CODED
        wanted, other = (
            ("least_sqnr_db", "tolerance") if is_coded else ("tolerance", "least_sqnr_db")
        )
        if getattr(self, wanted) is None:
            raise ValueError(f"{self.precision} needs {wanted}")
        if getattr(self, other) is not None:
            raise ValueError(f"{other} says nothing of {self.precision}, {wanted} does")
        if (self.calibration is not None) != (self.precision == "int8"):
            raise ValueError("int8 needs calibration, and no other precision reads it")
        return self


def load_recipe(target: str, precision: str, model: type[R], *, more: tuple[Path, ...] = ()) -> R:
    """Return the recipe ``export/recipes/<target>-<precision>.yaml``; the user's own comes first.

    `more` are folders to look in afterwards, those of plug-ins.

    Raises:
        ExportError: there is none.
        SchemaError: the file breaks the schema.
    """
    folders = [*(folder / "recipes" for folder in search_path("export")), *more]
    name = f"{target}-{precision}"
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            recipe = load_yaml(path, model)
            if (recipe.target, recipe.precision) != (target, precision):
                raise ExportError(
                    f"{path} is for {recipe.target}-{recipe.precision}, its name says {name}"
                )
            return recipe
    known = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise ExportError(f"no export recipe {name!r}; {choices(name, known)}")
