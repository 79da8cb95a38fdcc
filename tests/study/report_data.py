"""Report data like a real run's: digits on a small CPU, two runtimes, three targets."""

from __future__ import annotations

import math
import random

from edgenas.costs.passport import (
    CalibrationRecord,
    DeviceIdentity,
    DriftRecord,
    ErrorReport,
    Passport,
    PlanRecord,
    RuntimeIdentity,
    SpaceIdentity,
)
from edgenas.study.report import (
    BlockCost,
    DataSummary,
    EvaluatedPoint,
    ExportCheck,
    ExportedFile,
    FrontMember,
    ProgressPoint,
    Remeasured,
    ReportData,
    StepTime,
    TableRecord,
)

RUNTIMES = ("onnxruntime", "litert")


def full() -> ReportData:
    """A run in which everything went well, but for what needs a GPU."""
    front = _front()
    evaluations = _evaluations(160)
    return ReportData(
        name="digits",
        created="2026-11-20T14:05:31+00:00",
        space="mbv3_tiny",
        device="Intel Xeon, 2 cores",
        runtime="onnxruntime",
        constraints=("latency_ms <= 0.5 @ 90%",),
        pick_rule="knee",
        front=front,
        evaluations=evaluations,
        progress=_progress(evaluations),
        remeasured=_remeasured(front),
        blocks=_blocks(),
        exports=_exports(),
        tables=tuple(TableRecord(path=f"local/{n}.csv", passport=_passport(n)) for n in RUNTIMES),
        data=DataSummary(
            name="digits",
            fingerprint="5c1d" * 16,
            image_shape=(1, 28, 28),
            n_classes=10,
            n_train=1197,
            n_validation=300,
            n_test=300,
        ),
        training={
            "supernet": {"epochs": 40, "batch_size": 64, "lr": 0.1, "augment": True},
            "finetune": {"epochs": 10, "batch_size": 64, "lr": 0.02, "augment": True},
            "search": {"algorithm": "nsga2", "population": 24, "n_evaluations": 160, "seed": 0},
        },
        steps=tuple(
            StepTime(name=name, duration_s=duration_s, note=note)
            for name, duration_s, note in (
                ("profile", 71.4, "2 tables"),
                ("train", 68.0, ""),
                ("search", 38.7, ""),
                ("export", 19.9, "3 targets"),
            )
        ),
        versions={"edgenas": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.0"},
        warnings=("the anchor was slow in 11 % of its visits: other work ran on this machine",),
    )


def bare() -> ReportData:
    """The least that a run can leave: a front that was never picked from, no budget."""
    return ReportData(
        name="bare",
        created="2026-11-20",
        space="mbv3_tiny",
        device="local",
        runtime="litert",
        front=tuple(
            member.model_copy(
                update={"picked": False, "measured_ms": None, "low_ms": None, "high_ms": None}
            )
            for member in _front()
        ),
    )


def _latency(quality: float) -> float:
    return 0.16 + 0.55 * quality**1.7


def _accuracy(quality: float) -> float:
    return 0.99 - 0.075 * math.exp(-4.2 * quality)


def _front() -> tuple[FrontMember, ...]:
    rng = random.Random(3)
    members = []
    for index in range(14):
        quality = 0.7 * index / 13
        latency_ms = _latency(quality)
        members.append(
            FrontMember(
                id=f"mbv3_tiny-{rng.getrandbits(32):08x}",
                accuracy=_accuracy(quality),
                latency_ms=latency_ms,
                low_ms=latency_ms * 0.955,
                high_ms=latency_ms * 1.05,
                coverage="measured" if index % 5 else "interpolated",
                n_macs=round(6e5 + 5.4e6 * quality),
                n_params=round(3.1e4 + 2.6e5 * quality),
                peak_activation_kib=49.0 + 40 * quality,
                config={
                    "resolution": 28,
                    "stage1.depth": 1 + index % 2,
                    "stage2.depth": 1 + index % 3,
                    "stage1.block1.kernel": rng.choice([3, 5]),
                    "stage1.block1.expand": rng.choice([2, 4]),
                    "stage2.block1.kernel": rng.choice([3, 5]),
                    "stage2.block1.expand": rng.choice([2, 4]),
                },
                measured_ms=latency_ms * rng.gauss(1, 0.018),
                picked=index == 6,
            )
        )
    return tuple(members)


def _evaluations(n: int) -> tuple[EvaluatedPoint, ...]:
    rng = random.Random(5)
    points = []
    for index in range(n):
        quality = rng.random()
        latency_ms = _latency(quality) * (1 + rng.expovariate(6))
        accuracy = _accuracy(quality) - rng.expovariate(70)
        status = "complete" if latency_ms <= 0.5 else "infeasible"
        if index % 41 == 40:
            points.append(EvaluatedPoint(id=f"a{index}", status="failed"))
            continue
        points.append(
            EvaluatedPoint(id=f"a{index}", status=status, accuracy=accuracy, latency_ms=latency_ms)
        )
    return tuple(points)


def _progress(evaluations: tuple[EvaluatedPoint, ...]) -> tuple[ProgressPoint, ...]:
    best: float | None = None
    points = []
    for index, evaluation in enumerate(evaluations, start=1):
        if evaluation.status == "complete" and evaluation.accuracy is not None:
            best = max(best or 0.0, evaluation.accuracy)
        volume = 0.0 if best is None else 0.47 * (1 - 0.35 * math.exp(-index / 30))
        points.append(ProgressPoint(n_evaluations=index, hypervolume=volume, best_accuracy=best))
    return tuple(points)


def _remeasured(front: tuple[FrontMember, ...]) -> tuple[Remeasured, ...]:
    rng = random.Random(7)
    points = []
    for runtime, scale in zip(RUNTIMES, (1.0, 0.82), strict=True):
        for member in front:
            predicted_ms = member.latency_ms * scale
            points.append(
                Remeasured(
                    id=member.id,
                    runtime=runtime,
                    predicted_ms=predicted_ms,
                    low_ms=predicted_ms * 0.955,
                    high_ms=predicted_ms * 1.05,
                    measured_ms=predicted_ms * rng.gauss(1.005, 0.022),
                )
            )
    return tuple(points)


def _blocks() -> tuple[BlockCost, ...]:
    names = ["stem", "stage1.block1", "stage1.block2", "stage2.block1", "stage2.block2"]
    names += ["stage3.block1", "stage3.block2", "stage3.block3", "head", "classifier", "overhead"]
    rng = random.Random(11)
    return tuple(
        BlockCost(
            name=name,
            runtime=runtime,
            latency_ms=rng.uniform(0.006, 0.06),
            n_macs=None if name == "overhead" else 90_000 + 45_000 * index,
        )
        for runtime in RUNTIMES
        for index, name in enumerate(names)
    )


def _exports() -> tuple[ExportedFile, ...]:
    checks = (
        ExportCheck(name="names", passed=True, detail="input and output as agreed"),
        ExportCheck(name="values", passed=True, detail="2.1e-07 of the largest output, 1e-05 kept"),
        ExportCheck(name="test accuracy", passed=True, detail="98.33 %, the same as torch"),
    )
    no_gpu = "the engine needs an NVIDIA GPU and there is none in this machine"
    return (
        ExportedFile(
            target="onnx",
            file="model.onnx",
            sha256="9f" * 32,
            n_bytes=652_113,
            runtime="onnxruntime",
            latency_ms=0.241,
            low_ms=0.230,
            high_ms=0.253,
            measured_ms=0.243,
            process_ms=(0.251, 0.243, 0.2475),
            budget_kept=True,
            checks=checks,
            test_accuracy=0.9833,
            n_test=300,
        ),
        ExportedFile(
            target="tflite",
            file="model.tflite",
            sha256="3b" * 32,
            n_bytes=640_872,
            runtime="litert",
            latency_ms=0.198,
            low_ms=0.189,
            high_ms=0.208,
            measured_ms=0.196,
            budget_kept=True,
            checks=checks,
            test_accuracy=0.9833,
            n_test=300,
        ),
        ExportedFile(
            target="tensorrt",
            file="model.engine",
            sha256="c4" * 32,
            n_bytes=1_204_556,
            checks=(
                ExportCheck(name="built", passed=True, detail="for compute capability 8.6"),
                ExportCheck(name="values", passed=None, detail=no_gpu),
            ),
            not_run={"values": no_gpu, "measured_latency": no_gpu},
        ),
    )


def _passport(runtime: str) -> Passport:
    def errors(mape: float, near: float, nearer: float) -> ErrorReport:
        return ErrorReport(
            n_networks=60,
            mape=mape,
            within_5_percent=near,
            within_10_percent=nearer,
            spearman=0.9962,
            bias=0.0012,
        )

    return Passport(
        provenance="measured",
        created="2026-11-20T13:58:02+00:00",
        tool_version="0.1.0",
        space=SpaceIdentity(name="mbv3_tiny", fingerprint="ab" * 32, parameters={"width": 1.0}),
        device=DeviceIdentity(
            slug="intel-xeon-2c",
            match_key="77" * 16,
            fingerprint={
                "cpu_model": "Intel(R) Xeon(R) Processor @ 2.60GHz",
                "n_logical_cores": 2,
                "caches_kib": {"L1d": 32, "L2": 2048, "L3": 107520},
                "governor": None,
                "kernel": "6.1.0",
            },
        ),
        runtime=RuntimeIdentity(
            name=runtime,
            version="1.31.0" if runtime == "onnxruntime" else "2.3.0",
            delegate="xnnpack" if runtime == "litert" else None,
            precision="float32",
            threads=1,
            affinity=[1],
        ),
        plan=PlanRecord(
            seed=0,
            n_operator_visits=12,
            n_network_visits=20,
            n_pools=4,
            n_sessions=8,
            n_session_networks=20,
            least_session_s=15,
            n_runs=5,
            n_warmup=2,
            anchor_every=16,
        ),
        duration_s=35.2,
        drift=DriftRecord(
            n_anchor_visits=210,
            anchor_min_ms=0.402,
            anchor_median_ms=0.409,
            anchor_max_ms=0.731,
            slow_share=0.11,
        ),
        calibration=CalibrationRecord(
            n_networks=60,
            latency_range_ms=(0.14, 0.83),
            overhead_ms=0.012,
            boundary_ms=0.001,
            boundary_in_ms_per_kib=0.0001,
            boundary_out_ms_per_kib=0.0001,
            hyperparameters={"noise": 0.01},
            n_floored=0,
            session_ratios=[1.004, 0.998, 1.011],
            scores=[-0.03, -0.01, 0.0, 0.01, 0.02],
            held_out=errors(0.019, 0.967, 1.0),
            naive_sum=errors(0.455, 0.0, 0.033),
            noise_ceiling=errors(0.009, 1.0, 1.0),
        ),
        checksum="e1" * 32,
    )
