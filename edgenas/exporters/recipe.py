"""Export recipes: how a target's file is written and how closely it must agree, as strict YAML."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field

from edgenas.core.errors import ExportError, choices
from edgenas.core.paths import search_path
from edgenas.core.schema import StrictModel, load_yaml

R = TypeVar("R", bound="Recipe")


class Recipe(StrictModel):
    """What every recipe says.

    `tolerance` bounds the greatest difference of the logits over the greatest logit;
    `accuracy_tolerance` bounds the difference of the accuracy on the test part, a fraction.
    """

    schema_version: Literal[1]
    target: str
    precision: Literal["float32"]
    tolerance: float = Field(gt=0, le=1)
    accuracy_tolerance: float = Field(default=0.0, ge=0, le=1)


def load_recipe(target: str, precision: str, model: type[R]) -> R:
    """Return the recipe ``export/recipes/<target>-<precision>.yaml``; the user's own comes first.

    Raises:
        ExportError: there is none.
        SchemaError: the file breaks the schema.
    """
    folders = [folder / "recipes" for folder in search_path("export")]
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
