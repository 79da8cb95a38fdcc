"""The checks of a table: its rows, its samples, its plan, its errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import MissingCostError, TableError
from edgenas.core.ops import parse_key
from edgenas.costs import conformal
from edgenas.costs.calibration import FLOOR
from edgenas.costs.features import operator_features, similarity, standardised
from edgenas.costs.findings import Check, Finding, Subject
from edgenas.costs.known import OTHER_LEVEL
from edgenas.costs.samples import SampledVisit, read_samples
from edgenas.costs.table import journal_path, networks_journal_path, samples_path
from edgenas.spaces.budget import BudgetProgram
from edgenas.spaces.fold import Fold

Floats = npt.NDArray[np.float64]

_OFF = 6.0  # robust standard deviations from what similar operators cost
_OFF_FACTOR = 1.6  # and at least this factor
_LEAST_KIND = 12  # operators of a kind to judge one by the others
_WIDE_STD = 0.5  # of the cost
_FEW_VISITS = 5
_SAMPLES_MARGIN = 0.2  # of the time alone against the samples: how they are reduced may differ
_SLOW_SHARE = 0.5
_OLD_DAYS = 180
_POOR_MAPE, _POOR_FACTOR, _POOR_SPEARMAN = 0.03, 1.5, 0.95
_NOISY = 0.05
_WIDE_INTERVAL = 0.15
_OUTSIDE_SHARE = 0.1


def _rows_of_space(subject: Subject) -> Iterator[Finding]:
    """Yield operators that have no row, and rows that no network of the space needs."""
    space = subject.space
    if space is None:
        return
    wanted = {op.key for op in space.distinct_ops()}
    missing = sorted(wanted - subject.rows.keys())
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        own = subject.passport
        more = own.command(" --missing", space.command_options)
        yield Finding(
            "error",
            "missing rows",
            f"{len(missing)} of {len(wanted)} operators of {space.name} have no row: {named}",
            f"measure them: {more if own.kind == 'latency' else subject.again}",
        )
    foreign = len(subject.rows.keys() - wanted)
    if foreign:
        where = "rows of other spaces" if subject.passport.parents else "rows that nothing needs"
        yield Finding("note", "foreign rows", f"{foreign} of {len(subject.rows)} are {where}")


def _unfinished(subject: Subject) -> Iterator[Finding]:
    """Yield a measurement that was begun and not finished."""
    own, journal = subject.passport, journal_path(subject.path)
    if own.kind != "latency":
        journal = networks_journal_path(subject.path, own.kind, space=own.space.name)
    if journal.is_file():
        yield Finding(
            "note",
            "unfinished run",
            f"{journal.name} holds a measurement that was not finished",
            "go on with the command that began it, its --force included, or delete the file",
        )


def _outliers(subject: Subject) -> Iterator[Finding]:
    """Yield rows that cost another order than similar operators do.

    The cost of each operator, on a logarithmic scale, is predicted from the others of its kind by
    a Gaussian process on their features, which is left without it in closed form (Rasmussen &
    Williams 2006, equation 5.12); the errors' spread is the median's, which outliers do not move.
    The worst is told and taken out, and the others are judged again: it misleads its neighbours.
    """
    kinds: dict[str, list[str]] = {}
    for key in subject.rows:
        kinds.setdefault(parse_key(key).kind, []).append(key)
    for keys in kinds.values():
        left = len(keys) // 10
        while len(keys) >= _LEAST_KIND and left:
            error = _left_out_errors(subject, keys)
            spread = 1.4826 * float(np.median(np.abs(error - np.median(error))))
            worst = int(np.argmax(np.abs(error)))
            if abs(error[worst]) <= max(_OFF * spread, np.log(_OFF_FACTOR)):
                break
            key = keys.pop(worst)
            left -= 1
            yield Finding(
                "warning",
                "outlier",
                f"{key} costs {subject.rows[key].cost:.4g} {subject.passport.unit}, "
                f"{np.exp(error[worst]):.2g} times what similar operators let expect",
                f"measure the table again: {subject.again}",
            )


def _left_out_errors(subject: Subject, keys: list[str]) -> Floats:
    """Return log(cost / what the other operators let expect), shape (n,)."""
    ops = [parse_key(key) for key in keys]
    # Groups cut the MACs and not the time: without them every grouped convolution is an outlier.
    groups = standardised(np.array([[float(dict(op.attrs).get("groups", 1))] for op in ops]))
    features = np.column_stack([operator_features(ops), groups])
    cost = np.log([subject.rows[key].cost for key in keys])
    basis = np.column_stack([np.ones(len(keys)), features])
    slope = np.linalg.lstsq(basis, cost, rcond=None)[0]
    rest = cost - basis @ slope
    scale = float(np.var(rest)) + 1e-12
    covariance = scale * (similarity(features) + 0.05 * np.eye(len(keys)))
    inverse = np.linalg.inv(covariance)
    errors: Floats = (inverse @ rest) / np.diag(inverse)
    return errors


def _uncertain(subject: Subject) -> Iterator[Finding]:
    """Yield rows that rest on too little."""
    if subject.passport.provenance == "published":
        return
    rows = subject.rows.values()
    wide = [r.operator for r in rows if r.std is not None and r.std > _WIDE_STD * r.cost]
    if wide:
        yield Finding(
            "warning",
            "uncertain",
            f"{len(wide)} of {len(rows)} rows have a standard deviation above "
            f"{_WIDE_STD:.0%} of their cost, {wide[0]} among them",
            "calibrate with more networks: --networks, or measure again on a quieter machine",
        )
    few = [r.operator for r in rows if r.isolated is not None and r.n_visits < _FEW_VISITS]
    if few:
        yield Finding(
            "warning",
            "few visits",
            f"{len(few)} of {len(rows)} rows rest on fewer than {_FEW_VISITS} visits, {few[0]} "
            "among them",
            f"measure again with --operator-visits 20: {subject.again}",
        )
    floor = [r for r in rows if r.isolated is not None and r.cost <= FLOOR * r.isolated * 1.001]
    if floor:
        yield Finding(
            "note",
            "floor",
            f"{len(floor)} rows stand at the least cost that is believed, {FLOOR:.0%} of the "
            f"operator's time alone, {floor[0].operator} among them",
        )


def _samples(subject: Subject) -> Iterator[Finding]:
    """Yield where the samples are missing or are not those of the rows."""
    own = subject.passport
    if own.network_plan is None and own.provenance not in ("measured", "simulated"):
        return
    path = samples_path(subject.path)
    if not path.is_file():
        remedy = "restore the file; without it nothing in the table can be checked or fitted again"
        yield Finding("warning", "samples", f"{path.name} is not there", remedy)
        return
    try:
        visits = read_samples(path, own.kind)
    except TableError as error:
        yield Finding("error", "samples", str(error), f"restore it, or {subject.again}")
        return
    if own.network_plan is None:
        yield from _samples_of_rows(subject, visits)
    yield from _samples_of_networks(subject, visits)


def _samples_of_rows(subject: Subject, visits: list[SampledVisit]) -> Iterator[Finding]:
    runs: dict[str, list[float]] = {}
    for visit in visits:
        if visit.artefact.startswith("op:"):
            runs.setdefault(visit.artefact[3:], []).extend(visit.runs)
    n_visits = Counter(visit.artefact[3:] for visit in visits if visit.artefact.startswith("op:"))
    inherited = sum(parent.n_rows for parent in subject.passport.parents)
    wrong = []
    n_absent = 0
    for key, row in subject.rows.items():
        if key not in runs:
            n_absent += 1
        elif row.isolated is None:
            continue
        elif not _within(row.isolated, runs[key]) or n_visits[key] != row.n_visits:
            wrong.append(key)
    foreign = sorted(runs.keys() - subject.rows.keys())
    if n_absent > inherited:
        message = f"{n_absent} rows have no samples, {inherited} were taken from other tables"
        yield Finding("error", "samples", message, f"restore the file, or {subject.again}")
    if wrong or foreign:
        first = (wrong or foreign)[0]
        yield Finding(
            "error",
            "samples",
            f"{len(wrong) + len(foreign)} operators have other samples than their rows say, "
            f"{first} among them: rows and samples are of different measurements",
            f"restore both files, or {subject.again}",
        )


def _within(isolated: float, runs: list[float]) -> bool:
    return min(runs) * (1 - _SAMPLES_MARGIN) <= isolated <= max(runs) * (1 + _SAMPLES_MARGIN)


def _samples_of_networks(subject: Subject, visits: list[SampledVisit]) -> Iterator[Finding]:
    fit, drift = subject.passport.fit, subject.passport.drift
    artefacts = [visit.artefact for visit in visits]
    networks = {name.partition("@")[0] for name in artefacts if name.startswith("net:")}
    n_anchor = artefacts.count("anchor")
    facts = []
    if fit is not None and len(networks) != fit.n_networks:
        facts.append(f"{len(networks)} networks, the passport says {fit.n_networks}")
    if drift is not None and n_anchor != drift.n_anchor_visits:
        facts.append(f"{n_anchor} visits to the anchor, not {drift.n_anchor_visits}")
    if facts:
        yield Finding(
            "error",
            "samples",
            f"the samples are of another measurement than the passport: {'; '.join(facts)}",
            f"restore the files, or {subject.again}",
        )


def _drift(subject: Subject) -> Iterator[Finding]:
    drift = subject.passport.drift
    if drift is not None and drift.slow_share > _SLOW_SHARE:
        yield Finding(
            "warning",
            "drift",
            f"the machine was slow for {drift.slow_share:.0%} of the anchor's visits "
            f"({drift.anchor_min_ms:.4g} ms at best, mostly {drift.anchor_median_ms:.4g} ms)",
            "measure again on a quieter machine; 'edgenas doctor' says how noisy it is",
        )
    environment = subject.passport.environment
    if environment is not None and environment.throttle_pauses:
        waited_s = sum(pause.duration_s for pause in environment.throttle_pauses)
        yield Finding(
            "note",
            "throttling",
            f"the device throttled {len(environment.throttle_pauses)} times; the measurement "
            f"waited {waited_s:.0f} s for it to cool",
        )


def _level(subject: Subject) -> Iterator[Finding]:
    """Yield the tables whose rows had to be brought to another level of the machine."""
    for parent in subject.passport.parents:
        if parent.level is not None and abs(parent.level - 1) > OTHER_LEVEL:
            yield Finding(
                "warning",
                "level",
                f"{parent.n_rows} rows are of the table of {parent.space} made {parent.created}, "
                f"since when operators take {parent.level:.2f} times as long; they were scaled",
                f"see with 'edgenas doctor' what has changed; {subject.again}",
            )


def _age(subject: Subject) -> Iterator[Finding]:
    text = subject.passport.created
    try:
        created = datetime.fromisoformat(text)
    except ValueError:
        yield Finding("error", "age", f"created is {text!r}, no date and time", subject.again)
        return
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    days = (subject.now - created).total_seconds() / 86400
    if days < -1:
        yield Finding("warning", "age", f"it was made {-days:.0f} days from now: {text}")
    elif days > _OLD_DAYS and subject.passport.provenance != "published":
        message = f"it is {days:.0f} days old; kernels, drivers and firmware change"
        yield Finding("note", "age", message, "compare with a new one: edgenas tables diff")


def _errors(subject: Subject) -> Iterator[Finding]:
    """Yield what the table's own error reports say against it."""
    fit = subject.passport.fit
    if fit is None:
        message = "it was never held against whole networks: predictions have no interval"
        yield Finding("note", "errors", message, "measure a table of your own: edgenas profile")
        return
    held_out, ceiling = fit.held_out, fit.noise_ceiling
    more = f"calibrate with more networks or more visits: {subject.again} --networks 400"
    bar = _POOR_MAPE if ceiling is None else max(_POOR_MAPE, _POOR_FACTOR * ceiling.mape)
    if held_out.mape > bar:
        beside = "" if ceiling is None else f"; the same networks measured again {ceiling.mape:.1%}"
        message = f"predictions of unseen networks are {held_out.mape:.1%} wrong{beside}"
        yield Finding("warning", "errors", message, more)
    if held_out.spearman < _POOR_SPEARMAN:
        message = f"it ranks unseen networks with Spearman {held_out.spearman:.3f}"
        yield Finding("warning", "errors", message, more)
    if ceiling is not None and ceiling.mape > _NOISY:
        message = f"the machine itself differs by {ceiling.mape:.1%} from session to session"
        yield Finding("warning", "noise", message, "'edgenas doctor' says what makes it noisy")
    low, high = conformal.interval(np.array(fit.scores), 0.9)
    if high - low > 2 * _WIDE_INTERVAL:
        message = f"90 % intervals reach from {low:+.0%} to {high:+.0%}"
        yield Finding("warning", "intervals", message, more)


def _extent(subject: Subject) -> Iterator[Finding]:
    """Yield how much of the space lies outside what the table was calibrated on."""
    fit, space = subject.passport.fit, subject.space
    if fit is None or space is None:
        return
    try:
        fold = Fold.compile(space, lambda op: _cost(subject, op.key), offset=fit.overhead)
    except MissingCostError:
        return
    least, greatest = fit.value_range
    sampled = fold(space.sample(2000, np.random.default_rng(0)))
    outside = float(((sampled < least) | (sampled > greatest)).mean())
    program = BudgetProgram(fold)
    if outside > _OUTSIDE_SHARE:
        yield Finding(
            "warning",
            "coverage",
            f"{outside:.0%} of random networks lie outside the calibrated {least:.4g} to "
            f"{greatest:.4g} {subject.passport.unit}; the space reaches from "
            f"{program.least()[0]:.4g} to {program.greatest()[0]:.4g}",
            f"calibrate over the whole space: {subject.again}",
        )


def _cost(subject: Subject, key: str) -> float:
    if key not in subject.rows:
        raise MissingCostError(key)
    return subject.rows[key].cost


CHECKS: tuple[Check, ...] = (
    _rows_of_space,
    _samples,
    _outliers,
    _uncertain,
    _drift,
    _level,
    _age,
    _errors,
    _extent,
    _unfinished,
)
