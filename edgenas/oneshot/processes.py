"""Where training runs: Lightning Fabric for a CPU, a GPU, or several processes with one batch each.

Gradients are added up over the processes here, not by DistributedDataParallel: a step uses only
the weights of the networks that it draws, the same ones in every process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from edgenas.core.errors import EdgenasError, TrainingError
from edgenas.core.extras import require
from edgenas.oneshot.checkpoint import write_tensors
from edgenas.oneshot.settings import TrainingSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def accelerator_of(settings: TrainingSettings) -> str:
    """Return ``cpu`` or ``gpu``; ``auto`` is a GPU where there is one.

    Raises:
        TrainingError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if settings.accelerator == "auto":
        return "gpu" if has_gpu else "cpu"
    if settings.accelerator == "gpu" and not has_gpu:
        raise TrainingError(
            "accelerator gpu: this torch finds none (torch.cuda.is_available() is False); "
            "install torch for CUDA, or ask for accelerator: cpu"
        )
    return settings.accelerator


class Processes:
    """This process and its siblings: device, precision, sums over all of them.

    Attributes:
        n: how many there are, each with a batch of its own.
        rank: which one this is; 0 is the one that writes files.
        n_threads: threads that share a batch here.
    """

    def __init__(self, fabric: Fabric, settings: TrainingSettings) -> None:
        self._fabric = fabric
        self.n: int = fabric.world_size
        self.rank: int = fabric.global_rank
        self.device: torch.device = fabric.device
        self.n_threads = settings.threads if self.device.type == "cpu" else 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks run; for the thread that enters it."""
        return self._fabric.autocast()

    def add_up(self, parameters: Sequence[nn.Parameter], loss: float) -> float:
        """Make the gradients of `parameters` the sums over all processes; return that of `loss`.

        All processes have gradients of the same parameters.
        """
        if self.n == 1:
            return loss
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = torch.tensor([loss], dtype=torch.float32, device=self.device)
        # One message, as many small ones would each wait for the slowest process.
        flat = (gradient.reshape(-1).to(self.device) for gradient in gradients)
        whole = torch.cat([*flat, told])
        total = self._fabric.all_reduce(whole, reduce_op="sum")
        assert isinstance(total, Tensor)  # noqa: S101  # for mypy: a tensor gives a tensor
        parts = torch.split_with_sizes(total[:-1], [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(total[-1])


Work = Callable[..., list[float]]
"""Takes `Processes`, the module, a callback and whatever `launch` was given; returns losses."""


def launch(
    work: Work,
    module: nn.Module,
    settings: TrainingSettings,
    on_step: Callable[[Any], None] | None,
    *args: Any,
) -> list[float]:
    """Call `work` where the settings say, `module` on its device, and return what it returns.

    `module` is on the CPU again afterwards. Several processes are started anew, with copies of all
    arguments, unless torchrun has started this one as one of them.

    Raises:
        TrainingError: no such device, or a process died.
        EdgenasError: `work` raised it in another process.
    """
    fabric = fabric_of(settings)
    if settings.devices > 1 and not _is_started_by_torchrun():
        return _in_new_processes(fabric, work, module, settings, on_step, args)
    fabric.launch()
    fabric.to_device(module)
    processes = Processes(fabric, settings)
    losses = work(processes, module, on_step if processes.rank == 0 else None, *args)
    module.cpu()
    return losses


def _is_started_by_torchrun() -> bool:
    environments = require("lightning_fabric.plugins.environments")
    return bool(environments.TorchElasticEnvironment.detect())


def fabric_of(settings: TrainingSettings) -> Fabric:
    """Return the Fabric that the settings ask for.

    Raises:
        TrainingError: no such device.
        MissingExtraError: Lightning Fabric is not installed.
    """
    strategy = "auto"
    if settings.devices > 1:
        strategy = "ddp" if _is_started_by_torchrun() else "ddp_spawn"
    fabric: Fabric = require("lightning_fabric").Fabric(
        accelerator=accelerator_of(settings),
        devices=settings.devices,
        strategy=strategy,
        precision=settings.precision,
    )
    return fabric


def _in_new_processes(  # noqa: PLR0913
    fabric: Fabric,
    work: Work,
    module: nn.Module,
    settings: TrainingSettings,
    on_step: Callable[[Any], None] | None,
    args: tuple[Any, ...],
) -> list[float]:
    from edgenas.oneshot.supernet import load_into

    reports = torch.multiprocessing.get_context("spawn").SimpleQueue()
    errors: list[Exception] = []
    reader = Thread(target=_read_reports, args=(reports, on_step, errors), daemon=True)
    reader.start()
    with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
        path = Path(folder) / "module.safetensors"
        try:
            job = _Job(work, module, settings, reports, path, args)
            losses: list[float] = fabric.launch(job)
        except (ProcessRaisedException, ProcessExitedException) as error:
            reports.put(None)
            reader.join()
            if errors:
                raise errors[0] from error
            raise TrainingError(f"a training process ended before its work: {error}") from error
        reports.put(None)
        reader.join()
        load_into(module, path)
    if errors:  # of on_step: the training is done all the same
        raise errors[0]
    return losses


class _Job:
    """What a fresh process does; one object, so that whatever its parts share stays shared."""

    def __init__(  # noqa: PLR0913
        self,
        work: Work,
        module: nn.Module,
        settings: TrainingSettings,
        reports: Any,
        path: Path,
        args: tuple[Any, ...],
    ) -> None:
        self.work, self.module, self.settings = work, module, settings
        self.reports, self.path, self.args = reports, path, args

    def __call__(self, fabric: Fabric) -> list[float]:
        """Do the work; the first process writes the weights and reports steps."""
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            tensor.data = tensor.data.clone()  # as it came, all processes have the same memory
        fabric.to_device(self.module)
        processes = Processes(fabric, self.settings)
        is_first = processes.rank == 0
        on_step = self.reports.put if is_first else None
        try:
            losses = self.work(processes, self.module, on_step, *self.args)
        except EdgenasError as error:
            self.reports.put(error)
            raise
        if is_first:
            write_tensors(self.path, self.module.cpu().state_dict(), {})
        return losses


def _read_reports(
    reports: Any, on_step: Callable[[Any], None] | None, errors: list[Exception]
) -> None:
    """Hand on what the processes report until None comes; keep errors."""
    while (report := reports.get()) is not None:
        if isinstance(report, EdgenasError):
            errors.append(report)
        elif on_step is not None and not errors:
            try:
                on_step(report)
            except Exception as error:  # noqa: BLE001  # raised again in the main thread
                errors.append(error)
