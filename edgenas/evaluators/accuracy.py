"""Validation accuracy of architectures with the weights that they share in a supernet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgenas.core.architecture import Architecture
from edgenas.core.errors import SpaceError, TrainingError
from edgenas.core.evaluation import Evaluation
from edgenas.evaluators.base import Evaluator, check_space
from edgenas.evaluators.memory import is_out_of_memory
from edgenas.oneshot.calibration import calibrate, calibration_of
from edgenas.oneshot.data.base import ImageDataset
from edgenas.oneshot.evaluate import accuracy
from edgenas.oneshot.supernet import Supernet, extract
from edgenas.oneshot.training import check_fit
from edgenas.oneshot.workers import worker_threads
from edgenas.spaces.base import SearchSpace


class SharedWeightsAccuracy(Evaluator):
    """Accuracy on the validation part, a fraction, batch norms recalibrated for each network.

    The supernet is only read. The same architecture always gets the same value.

    Args:
        supernet: trained shared weights.
        space: one that the supernet serves.
        dataset: evaluates on its validation part, calibrates on its images for that, or on some
            of its train part.
        n_calibration_images: always the same ones; default: see `calibration_of`.
        n_validation_images: evaluate on that many, always the same ones; None is all.
        threads: that many architectures are evaluated at the same time.

    Raises:
        DataError: the data set does not fit the space.
        SpaceError: the supernet has not the weights of the space.
    """

    def __init__(  # noqa: PLR0913
        self,
        supernet: Supernet,
        space: SearchSpace,
        dataset: ImageDataset,
        *,
        n_calibration_images: int | None = None,
        n_validation_images: int | None = None,
        threads: int = 1,
    ) -> None:
        check_fit(space, dataset)
        supernet.check_space(space)
        self.supernet, self.space, self.dataset = supernet, space, dataset
        self.threads = threads
        order = np.random.default_rng(0).permutation(len(dataset.validation))
        self._part = dataset.validation.take(np.sort(order[:n_validation_images]))
        self._calibration = calibration_of(dataset, n_images=n_calibration_images)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """Return the accuracy of each of `archs` (see `Evaluator.evaluate`)."""
        check_space(archs, self.space)
        with worker_threads(self.threads) as workers:
            return list(workers.map(self._evaluate_one, archs))

    def _evaluate_one(self, arch: Architecture) -> Evaluation:
        try:
            self.space.check(arch.row[None])
            module = extract(self.supernet, self.space, arch.row)
            calibrate(module, self._calibration)
            value = accuracy(module, self.dataset, self._part)
        except (SpaceError, TrainingError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            return Evaluation(arch, "failed", error=f"{type(error).__name__}: {error}")
        return Evaluation(arch, "complete", {"accuracy": value})
