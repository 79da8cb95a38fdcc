"""Accuracies that others measured: what a fit to 200 subnets reaches, on one split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def test_two_hundred_subnets_rank_the_rest_better_than_the_published_predictor(
    bench_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGENAS_BENCH_DATA", str(bench_data))
    from benchmarks.once_for_all.measured import measured
    from benchmarks.once_for_all.predictors import by_kind, errors, on_a_line, split

    data = measured()
    assert (len(data.every_row), len(data.rows)) == (2373, 2162)
    fit, rest = split(len(data.rows), 200, 0)
    assert not set(fit.tolist()) & set(rest.tolist())
    published = on_a_line(data, data.published()(data.rows), fit)[rest]
    theirs = errors(data.accuracy[rest], published)
    ours = by_kind(data, "gaussian_process", fit, rest)
    assert ours["spearman"] > 0.994 > theirs["spearman"]
    assert ours["mae_points"] < 0.08 < theirs["mae_points"]
    # No subnet stands on both sides: the rows are distinct.
    assert len(np.unique(data.rows, axis=0)) == len(data.rows)
