"""What the programs of benchmarks share: their command line, and the file of their figures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from edgenas.core.files import write_json


def main(
    run: Callable[..., dict[str, Any]],
    *,
    doc: str | None,
    out: Path,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Parse the command line, run a benchmark, write its figures with their cost and environment.

    Args:
        run: takes the options by name and returns the figures.
        doc: what the benchmark is.
        out: where the figures go unless ``--out`` says otherwise.
        options: of the command line, each with the arguments of `ArgumentParser.add_argument`.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--out", type=Path, default=out)
    for name, settings in (options or {}).items():
        parser.add_argument(name, **settings)
    given = vars(parser.parse_args())
    path = given.pop("out")
    start = time.process_time()
    figures = run(**given)
    cpu_s = round(time.process_time() - start, 1)
    write_json(path, {**figures, "cpu_s": cpu_s, "environment": environment()})
