"""Steps of a supernet's training, against a plain implementation of the same step.

Each implementation runs in a process of its own, so that neither has the other's threads and
memory settings. They take turns of a few steps, and a ratio is that of two turns in a row: the
machine's drift meets both. Both have the same weights, images and networks; where their losses
differ, the benchmark fails.

    python -m benchmarks.speed.training
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.program import main
from benchmarks.speed.plain_supernet import PlainSupernet, plain_step
from edgenas import spaces
from edgenas.oneshot.gradients import Share, set_gradients
from edgenas.oneshot.lessons import Class
from edgenas.oneshot.optimisation import optimiser
from edgenas.oneshot.phases import OpenPart
from edgenas.oneshot.processes import Processes, fabric_of
from edgenas.oneshot.settings import scheduled
from edgenas.oneshot.supernet import Supernet
from edgenas.oneshot.workers import worker_threads

OUT = Path(__file__).parent / "results" / "training.json"
CASES = {
    "mbv3_tiny": {"sizes": (20, 24, 28, 32), "batch_size": 64, "n_steps": 8},
    "ofa_mbv3_w1.0": {"sizes": (128, 160), "batch_size": 16, "n_steps": 2},
}
"""By space: sizes of the input, in turn; images a step; steps a turn."""
PHASES = {"expansion2": "four random networks and the teacher", "full": "the largest network"}
MEAN, STD = 0.4, 0.3


class Case:
    """The images, weights and networks of one case; steps are numbered."""

    def __init__(self, space: str, phase: str, n_threads: int) -> None:
        self.space, self.n_threads = spaces.get(space), n_threads
        self.settings = scheduled("ofa_cpu", threads=n_threads, accelerator="cpu")
        self.sizes: Sequence[int] = CASES[space]["sizes"]
        channels, _, _ = self.space.input_shape(self.space.largest())
        side, n = max(self.sizes), CASES[space]["batch_size"]
        generator = torch.Generator().manual_seed(0)
        shape = (n, channels, side, side)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(0, self.space.n_classes, (n,), generator=generator)
        self.supernet = Supernet(self.space)
        self.dataset: Any = SimpleNamespace(mean=(MEAN,) * channels, std=(STD,) * channels)
        self.learners = Class(self.supernet, self.space, self.dataset, self.settings)
        (self.lesson,) = (
            lesson for lesson in self.learners.lessons() if lesson.phase.name == phase
        )
        self.lesson.prepare()
        self.learners._freeze_teacher()

    def size(self, step: int) -> tuple[int, int]:
        """Return height and width of the input of a step."""
        side = self.sizes[step % len(self.sizes)]
        return side, side

    def ours(self, stack: ExitStack) -> Callable[[int], float]:
        """Return a step of edgenas."""
        parameters = [p for p in self.learners.parameters() if p.requires_grad]
        update = optimiser(self.learners, self.settings)
        fabric = fabric_of(self.settings)
        fabric.launch()
        processes = Processes(fabric, self.settings)
        workers = stack.enter_context(worker_threads(self.n_threads))

        def step(i: int) -> float:
            pairs = zip(
                self.images.tensor_split(self.n_threads),
                self.labels.tensor_split(self.n_threads),
                strict=True,
            )
            loss = set_gradients(
                parameters,
                self.lesson.losses,
                [Share(images, labels, self.size(i), i) for images, labels in pairs],
                n_reported=self.lesson.n_reported,
                workers=workers,
                processes=processes,
                n_images=len(self.labels),
            )
            nn.utils.clip_grad_norm_(parameters, 5.0)
            update.step()
            return loss

        return step

    def plain(self, stack: ExitStack) -> Callable[[int], float]:
        """Return the same step, written plainly."""
        del stack  # nothing to close
        torch.set_num_threads(self.n_threads)
        weights = dict(self.supernet.named_parameters())
        plain, part = PlainSupernet(weights), OpenPart(self.space, self.lesson.phase)
        update = torch.optim.SGD(
            plain.weights.values(), self.settings.lr, momentum=0.9, nesterov=True
        )
        full = self.space.ops(self.space.largest())
        frozen = PlainSupernet(weights) if self.lesson.phase.distillation else None

        def step(i: int) -> float:
            inputs = self.images.float() / 255
            inputs = functional.interpolate(inputs, self.size(i), mode="bilinear")
            inputs = (inputs - MEAN) / STD
            rows = part.sample(self.lesson.phase.n_subnets, np.random.default_rng(i))
            subnets = [self.space.ops(row) for row in rows] or [full]
            opinion = None
            if frozen is not None:
                with torch.no_grad():
                    opinion = frozen(inputs, full)
            return plain_step(plain, update, inputs, self.labels, subnets, opinion)

        return step


def serve(pipe: Connection, which: str, space: str, phase: str, n_threads: int) -> None:
    """Run turns of steps as asked for, in a process of its own."""
    with ExitStack() as stack:
        step = getattr(Case(space, phase, n_threads), which)(stack)
        while (asked := pipe.recv()) is not None:
            first, n = asked
            began, cpu_began = time.perf_counter(), time.process_time()
            losses = [step(first + i) for i in range(n)]
            cpu_s = (time.process_time() - cpu_began) / n
            pipe.send(((time.perf_counter() - began) / n, cpu_s, losses))


def compare(space: str, phase: str, n_threads: int, n_turns: int) -> dict[str, Any]:
    """Return seconds a step of both, turn by turn, and the ratio."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for which in ("ours", "plain"):
        pipes[which], theirs = context.Pipe()
        arguments = (theirs, which, space, phase, n_threads)
        context.Process(target=serve, args=arguments, daemon=True).start()

    def turn(which: str, first: int, n: int) -> Any:
        pipes[which].send((first, n))
        return pipes[which].recv()

    losses = {which: turn(which, 0, 1)[2][0] for which in pipes}
    # Batch norms see a thread's share in one and the whole batch in the other: as one thread only.
    if n_threads == 1:
        assert abs(losses["ours"] - losses["plain"]) < 1e-3 * losses["plain"], losses
    n = CASES[space]["n_steps"]
    seconds: dict[str, list[float]] = {which: [] for which in pipes}
    cpu: dict[str, list[float]] = {which: [] for which in pipes}
    for i in range(n_turns + 1):
        for which in pipes:
            took_s, cpu_s, _ = turn(which, 1 + i * n, n)
            if i:  # the first turn warms up
                seconds[which].append(took_s)
                cpu[which].append(cpu_s)
    for pipe in pipes.values():
        pipe.send(None)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {
        "first_loss": {which: round(loss, 5) for which, loss in losses.items()},
        "step_s": {which: [round(s, 4) for s in found] for which, found in seconds.items()},
        "median_step_s": {which: round(median(found), 4) for which, found in seconds.items()},
        "median_cpu_s": {which: round(median(found), 4) for which, found in cpu.items()},
        "ratio": {
            "median": round(median(ratios), 3),
            "least": round(min(ratios), 3),
            "greatest": round(max(ratios), 3),
        },
    }


def run(n_turns: int, spaces: list[str], threads: list[int]) -> dict[str, Any]:
    """Compare both implementations in all cases, with two threads and with one."""
    found: dict[str, Any] = {}
    for space in spaces:
        for phase, what in PHASES.items():
            for n_threads in threads:
                figures = compare(space, phase, n_threads, n_turns)
                name = f"{space}, {what}, {n_threads} threads"
                found[name] = {**CASES[space], **figures}
                print(
                    name,
                    figures["median_step_s"],
                    figures["median_cpu_s"],
                    figures["ratio"],
                    flush=True,
                )
    return {"command": "python -m benchmarks.speed.training", "n_turns": n_turns, "cases": found}


if __name__ == "__main__":
    main(
        run,
        doc=__doc__,
        out=OUT,
        options={
            "--n-turns": {"type": int, "default": 15},
            "--threads": {"nargs": "+", "type": int, "default": [2, 1]},
            "--spaces": {"nargs": "+", "default": list(CASES), "choices": list(CASES)},
        },
    )
