"""What is told of a front once its members were files."""

from __future__ import annotations

from dataclasses import asdict

from edgenas.cli.results import fallen
from edgenas.study.steps.finalists import Finalist

STAYED = Finalist("aae1", 0.871, 0.8765, 0.107, 0.106)


def test_who_fell_off_the_front_is_named_with_what_beats_it() -> None:
    fell = Finalist("be84", 0.877, 0.8690, 0.131, 0.0133, beaten_by="aae1")
    unlabelled = Finalist("3a6e", None, None, 0.132, 0.132, beaten_by="aae1")
    assert fallen([asdict(one) for one in (STAYED, fell, unlabelled)], "int8") == [
        "as int8 files, 2 of 3 finalists are no better than another one in any objective, and "
        "fell off the front:",
        "  be84 with 86.90% in 0.0133 ms, beaten by aae1 with 87.65% in 0.106 ms",
        "  3a6e with 0.132 ms, beaten by aae1 with 87.65% in 0.106 ms",
    ]


def test_who_cannot_be_written_or_run_is_named_with_the_reason() -> None:
    out = Finalist("7c02", 0.88, 0.87, 0.120, None, error="it does not run on board: no kernel")
    assert fallen([asdict(one) for one in (STAYED, out)], "int8") == [
        "finalist 7c02 is out: it does not run on board: no kernel"
    ]


def test_nothing_is_told_where_all_stay_or_none_was_judged() -> None:
    assert fallen([asdict(STAYED)], "int8") == []
    assert fallen([], "float32") == []
