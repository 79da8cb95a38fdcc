"""Texts of a job file that say more than they look: objectives, constraints, picks, aspects."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from edgenas.core.errors import UsageError
from edgenas.core.objective import LABELS, Constraint, is_label, objective
from edgenas.costs.conditions import check_aspects


def _constraint(text: str) -> str:
    try:
        return str(Constraint.parse(text))
    except UsageError as error:
        raise ValueError(str(error)) from error


def _pick(text: str) -> str:
    text = text.strip()
    is_id = 4 <= len(text) <= 10 and set(text) <= set("0123456789abcdef")
    if text == "knee" or is_id:
        return text
    if "=" not in text and "<" not in text and ">" not in text:
        raise ValueError(
            f"{text!r} picks nothing; write 'knee', a constraint such as 'latency_ms <= 2 @ 90%', "
            "or an architecture's id (at least 4 of its 10 hex digits)"
        )
    return _limits(text)


def _limits(text: str) -> str:
    return ", ".join(_constraint(part) for part in text.split(","))


def _aspect(name: str) -> str:
    try:
        check_aspects([name])
    except UsageError as error:
        raise ValueError(str(error)) from error
    return name


def _objective(name: str) -> str:
    try:
        return objective(name).name
    except UsageError as error:
        raise ValueError(str(error)) from error


def _label(text: str) -> str:
    if not is_label(text):
        raise ValueError(f"{text!r} is no label of a device; {LABELS}")
    return text


AspectName = Annotated[str, AfterValidator(_aspect)]
ObjectiveName = Annotated[str, AfterValidator(_objective)]
DeviceLabel = Annotated[str, AfterValidator(_label)]
ConstraintText = Annotated[str, AfterValidator(_constraint)]
LimitsText = Annotated[str, AfterValidator(_limits)]
PickText = Annotated[str, AfterValidator(_pick)]
