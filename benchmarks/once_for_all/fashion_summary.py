"""What the comparison on Fashion-MNIST says: equal accuracy, equal latency, and the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.environment import environment
from benchmarks.once_for_all.fashion_networks import FAMILIES, SCHEDULE, Work, recipe
from benchmarks.once_for_all.fashion_subnets import FRONT, TIMES, subnets
from edgenas.pareto import non_dominated

RUNTIMES = ("onnxruntime", "litert")


@dataclass(frozen=True)
class Point:
    """A network as a point."""

    id: str
    label: str
    latency_ms: float
    accuracy: float


def family_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both, by latency."""
    ordered = sorted(points, key=lambda point: point.latency_ms)
    values = np.array([[point.latency_ms, -point.accuracy] for point in ordered])
    return [point for point, kept in zip(ordered, non_dominated(values), strict=True) if kept]


def latency_at(front: Sequence[Point], accuracy: float) -> float | None:
    """Return the latency at which a front reaches an accuracy, None outside its accuracies.

    Between two members it is interpolated in the logarithm of the latency, which flatters the
    front: a network in between need not exist.
    """
    accuracies = [point.accuracy for point in front]
    if not accuracies[0] <= accuracy <= accuracies[-1]:
        return None
    return float(np.exp(np.interp(accuracy, accuracies, _log_ms(front))))


def accuracy_at(front: Sequence[Point], latency_ms: float) -> float | None:
    """Return the accuracy that a front has at a latency, None outside its latencies."""
    if not front[0].latency_ms <= latency_ms <= front[-1].latency_ms:
        return None
    accuracies = [point.accuracy for point in front]
    return float(np.interp(np.log(latency_ms), _log_ms(front), accuracies))


def compare(ours: Sequence[Point], families: Mapping[str, Sequence[Point]]) -> list[dict[str, Any]]:
    """Return, for each of ours, the speed-up and the gain over each family's front."""
    fronts = {name: family_front(points) for name, points in families.items()}
    fronts["best of all"] = family_front([point for some in families.values() for point in some])
    lines = []
    for point in ours:
        against = {}
        for name, front in fronts.items():
            same_accuracy = latency_at(front, point.accuracy)
            same_latency = accuracy_at(front, point.latency_ms)
            slower = [other for other in front if other.accuracy <= point.accuracy]
            against[name] = {
                "latency_ms_at_equal_accuracy": same_accuracy,
                "speed_up": None if same_accuracy is None else same_accuracy / point.latency_ms,
                # What the front's best of no more accuracy takes: certain, not interpolated.
                "speed_up_at_least": slower[-1].latency_ms / point.latency_ms if slower else None,
                "accuracy_at_equal_latency": same_latency,
                "gain": None if same_latency is None else point.accuracy - same_latency,
            }
        lines.append(
            {
                "id": point.id,
                "latency_ms": point.latency_ms,
                "accuracy": point.accuracy,
                "against": against,
            }
        )
    return lines


def _log_ms(front: Sequence[Point]) -> list[float]:
    return [float(np.log(point.latency_ms)) for point in front]


def summary(work: Work) -> dict[str, Any]:
    """Return all figures: what was trained, how accurate, how fast, against whom."""
    timed, front = work.read("latency.json"), work.read(FRONT)
    rows = []
    for network in subnets(work):
        shared = work.read(f"shared/{network.id}.json")
        alone = work.read(f"alone/{network.id}.json")
        rows.append(
            {
                "id": network.id,
                **network.about(),
                "shared": shared["shared"],
                "finetuned": shared["finetuned"],
                "alone": {key: alone[key] for key in ("validation_accuracy", "test_accuracy")},
                "shared_minus_alone": shared["shared"]["test_accuracy"] - alone["test_accuracy"],
            }
        )
    families: dict[str, list[dict[str, Any]]] = {name: [] for name in FAMILIES}
    for network in work.families():
        found = work.read(f"alone/{network.id}.json")
        if found is not None:
            families[network.space.name].append({"id": network.id, **found})
    return {
        "environment": environment(),
        "schedule": SCHEDULE,
        "epochs": recipe(1).epochs,
        "training_s_by_phase": work.read(TIMES),
        "predictor": front["predictor"],
        "subnets": rows,
        "families": families,
        "latency": timed,
        "comparison": {
            runtime: {
                how: compare(
                    [_point(row["id"], row, row[how], timed[runtime]) for row in rows],
                    {
                        name: [_point(one["id"], one, one, timed[runtime]) for one in members]
                        for name, members in families.items()
                    },
                )
                for how in ("shared", "finetuned", "alone")
            }
            for runtime in RUNTIMES
        },
    }


def _point(
    key: str, about: Mapping[str, Any], found: Mapping[str, Any], timed: Mapping[str, Any]
) -> Point:
    width = about["config"].get("width")
    label = about["space"] if width is None else f"{about['space']} {width}"
    return Point(key, label, timed[key]["latency_ms"], found["test_accuracy"])
