"""Outputs of benchmark_model: of several versions, of any runs, and damaged ones."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core.errors import AgentError
from edgenas.runtimes.benchmark_output import BenchmarkReport, Statistics, parse_benchmark
from edgenas.testing.adb.tool_output import VERSIONS, Options, Output, Timed

NOTE = "Note: the following is only APPROXIMATE.\n"

TF_1_15 = f"""STARTING!
Min num runs: [50]
Num threads: [4]
Graph: [/data/local/tmp/mnv3_seg_float.tflite]
Use gpu : [1]
Loaded model /data/local/tmp/mnv3_seg_float.tflite
Applied GPU delegate, and the model graph will be completely executed w/ the delegate.
The input model file size (MB): 3.79893
Initialized session in 1451.51ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding \
150 seconds.
count=56 first=11147 curr=8146 min=7055 max=12036 avg=8779.68 std=1115

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding \
150 seconds.
count=110 first=9246 curr=9153 min=7500 max=12450 avg=9048.34 std=861

Inference timings in us: Init: 1451510, First inference: 11147, Warmup (avg): 8779.68, \
Inference (avg): 9048.34
{NOTE}Peak memory footprint (MB): init=91.6836 overall=91.6836
"""

TF_2_5_PROFILED = f"""STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [mobilenet_v1_1.0_224.tflite]
Enable op profiling: [1]
#threads used for CPU inference: [4]
Loaded model mobilenet_v1_1.0_224.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the \
delegate w/ 2 delegate kernels.
The input model file size (MB): 16.9008
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding \
150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding \
150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, \
Inference (avg): 2.95034e+06
{NOTE}Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t         AllocateTensors\t            0.000\t    1.356\t    1.356\t100.000%\t100.000%\t     0.000\
\t        1\tAllocateTensors/0

Number of nodes executed: 1

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t            0.010\t    9.804\t    9.783\t 97.002%\t 97.002%\t     0.000\
\t        1\t[MobilenetV1/Logits/AvgPool, b]:31
\t                 SQUEEZE\t            9.793\t    0.000\t    0.000\t  0.001%\t 97.003%\t     0.000\
\t        1\t[Logits/SpatialSqueeze]:29
\t   TfLiteXNNPackDelegate\t            9.794\t    0.302\t    0.303\t  2.997%\t100.000%\t     0.000\
\t        1\t[MobilenetV1/Predictions]:32

============================== Top by Computation Time ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\
\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t            0.010\t    9.804\t    9.783\t 97.002%\t 97.002%\t     0.000\
\t        1\t[MobilenetV1/Logits/AvgPool, b]:31

Number of nodes executed: 3
"""

TF_2_18 = f"""INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [2]
INFO: Num threads: [1]
INFO: Graph: [mobilenet_quant_v1_224.tflite]
INFO: Signature to run: []
INFO: Use gpu: [1]
INFO: Loaded model mobilenet_quant_v1_224.tflite
INFO: Created TensorFlow Lite delegate for GPU.
ERROR: Following operations are not supported by GPU delegate:
GATHER_ND: Operation is not supported.
SPLIT: Operation is not supported.
SPLIT: Expected 1 runtime input tensor(s), but node has 2.
58 operations will run on the GPU, and the remaining 3 operations will run on the CPU.
INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the \
delegate w/ 3 delegate kernels.
INFO: The input model file size (MB): 4.2761
INFO: [benchmark_model.cc:42] Initialized session in 1361.24ms.
INFO: Running benchmark for at least 1 iterations and at least 0 seconds but terminate if \
exceeding 150 seconds.
INFO: count=1 curr=905463 p5=905463 median=905463 p95=905463

INFO: Running benchmark for at least 2 iterations and at least 0 seconds but terminate if \
exceeding 150 seconds.
INFO: count=2 first=112537 curr=111758 min=111758 max=112537 avg=112148 std=389 p5=111758 \
median=112148 p95=112537

INFO: Inference timings in us: Init: 1361240, First inference: 905463, Warmup (avg): 905463, \
Inference (avg): 112148
INFO: {NOTE}INFO: Memory footprint delta from the start of the tool (MB): init=11 overall=12.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383
"""

CSV_PROFILE = """Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0.001, 0.5, 0.4321, 40.1%, 40.1%, 0, 1, [conv/Relu6, other]:0
TfLiteXNNPackDelegate, 0.5, 0.6, 0.6451, 59.9%, 100%, 0, 1, [out]:5

"""


def made(
    version: str, runs: list[int], *, warmup: list[int] | None = None, **options: object
) -> str:
    """Return what the emulated tool prints for these times."""
    written: list[bytes] = []
    output = Output(version, lambda _, text: written.append(text))
    given = ["--graph=/m.tflite", f"--num_runs={len(runs)}", "--num_threads=1"]
    given += ["--use_xnnpack=true", *(f"--{name}={value}" for name, value in options.items())]
    parsed = Options.parse(given, version)
    nodes = [("TfLiteXNNPackDelegate", "[a]:2"), ("CUMSUM", "[b, c]:1")]
    timed = Timed(2000, [90] if warmup is None else warmup, runs, 100, 200, nodes)
    output.start(parsed)
    output.loaded(parsed, nodes, n_bytes=1000, init_us=timed.init_us)
    output.ran(1, 0.0, parsed, timed.warmup)
    output.ran(len(runs), 0.0, parsed, timed.runs)
    output.summary(parsed, timed)
    return b"".join(written).decode()


def test_version_1_15_is_read() -> None:
    report = parse_benchmark(TF_1_15)
    assert report.init_us == 1451510
    assert (report.warmup.count, report.runs.count, report.runs.avg_us) == (56, 110, 9048.34)
    assert report.delegates == {"GPU": "completely"}
    assert (report.init_mib, report.overall_mib) == (91.6836, 91.6836)
    assert report.nodes is None
    with pytest.raises(AgentError, match="110 of them cannot be told apart, 3 can"):
        report.runs.runs_us()


def test_version_2_5_is_read_with_its_profile() -> None:
    report = parse_benchmark(TF_2_5_PROFILED)
    assert report.delegates == {"XNNPACK": "partially"}
    assert report.runs == Statistics(50, 2913402, 2727568, 3189954, 2950340, 2990275, 109798)
    assert report.parameters["Num threads"] == "4"
    assert report.nodes is not None
    assert [(node.kind, node.name, node.avg_ms) for node in report.nodes] == [
        ("TfLiteXNNPackDelegate", "[MobilenetV1/Logits/AvgPool, b]:31", 9.783),
        ("SQUEEZE", "[Logits/SpatialSqueeze]:29", 0.0),
        ("TfLiteXNNPackDelegate", "[MobilenetV1/Predictions]:32", 0.303),
    ]
    assert [node.delegated for node in report.nodes] == [True, False, True]


def test_version_2_18_is_read_with_what_the_gpu_refuses() -> None:
    report = parse_benchmark(TF_2_18)
    assert report.delegates == {"GPU": "partially"}
    assert report.left_out == ("GATHER_ND", "SPLIT")
    assert report.runs.runs_us() == (112537, 111758)


def test_a_profile_as_csv_is_read() -> None:
    report = parse_benchmark(TF_1_15 + CSV_PROFILE)
    assert report.nodes is not None
    assert [(node.kind, node.name, node.avg_ms) for node in report.nodes] == [
        ("CONV_2D", "[conv/Relu6, other]:0", 0.4321),
        ("TfLiteXNNPackDelegate", "[out]:5", 0.6451),
    ]


def test_statistics_of_tensorflow_1_have_no_first() -> None:
    text = re.sub(
        r"count=(\d+) first=\d+ curr=(\d+)", r"curr=\2 count=\1", made("2.9", [50, 40, 70])
    )
    assert parse_benchmark(text).runs.runs_us() == (40, 50, 70)


def test_a_delegate_that_took_nothing_is_said_so() -> None:
    line = "Applied GPU delegate, and the model graph will be completely executed w/ the delegate."
    other = (
        "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the "
        "delegate."
    )
    assert parse_benchmark(TF_1_15.replace(line, other)).delegates == {"NNAPI": "not"}


TIMES = st.integers(1, 10**9) | st.integers(1, 200)


@pytest.mark.parametrize("version", VERSIONS)
@given(runs=st.lists(TIMES, min_size=1, max_size=3), n_warmup=st.integers(0, 3))
def test_up_to_three_runs_are_recovered(version: str, runs: list[int], n_warmup: int) -> None:
    report = parse_benchmark(made(version, runs, warmup=[77] * n_warmup))
    found = report.runs.runs_us()
    assert report.warmup.count == n_warmup
    assert (found[0], found[-1]) == (runs[0], runs[-1])
    # The one between is told to the six digits of the average.
    assert list(found) == pytest.approx(runs, rel=1e-5 * len(runs), abs=max(runs) * 2e-5)
    if max(runs) < 10_000:
        assert list(found) == runs


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_changed_digit_is_noticed(version: str, data: st.DataObject) -> None:
    runs = data.draw(st.lists(st.integers(100, 90_000), min_size=1, max_size=3, unique=True))
    text = made(version, runs)
    line = re.compile(r"count=[1-3] .*?(?= p5=|\n)|Inference \(avg\).*")
    start, end = data.draw(st.sampled_from([m.span() for m in line.finditer(text)][1:]))
    places = [i for i in range(start, end) if text[i].isdigit()]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([one for one in string.digits if one != text[place]]))
    damaged = text[:place] + digit + text[place + 1 :]
    try:
        found = parse_benchmark(damaged).runs
        noticed = found.count != len(runs) or sorted(found.runs_us()) != sorted(runs)
    except AgentError:
        return
    # What is left are digits of the average and the deviation that mean the same runs.
    assert not noticed or found.count != len(runs)


@given(data=st.data())
def test_damaged_output_is_refused_or_right(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(VERSIONS))
    text = made(version, [140, 120, 130], enable_op_profiling="true")
    kind = data.draw(st.sampled_from(["cut", "drop", "double", "insert"]))
    lines = text.splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines) - 1))
    if kind == "cut":
        text = text[: data.draw(st.integers(0, len(text)))]
    elif kind == "drop":
        text = "".join(lines[:place] + lines[place + 1 :])
    elif kind == "double":
        text = "".join(lines[: place + 1] + lines[place:])
    else:
        text = "".join([*lines[:place], data.draw(st.text(max_size=30)) + "\n", *lines[place:]])
    try:
        report = parse_benchmark(text)
    except AgentError:
        return
    assert isinstance(report, BenchmarkReport)
    assert report.runs.runs_us() == (140, 120, 130)


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(AgentError):
        parse_benchmark(text)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("STARTING!\n", "STARTING!\nUnconsumed cmdline flags: --use_gpu=true\n", "does not know"),
        ("Init: 2000", "Init: 0", "cannot be"),
        ("Init: 2000", "Init: nan", "no timings"),
        ("Inference (avg): 130", "Inference (avg): 131", "contradicts itself"),
        ("First inference: 90", "First inference: 91", "contradicts itself"),
        ("count=3 first=140", "count=-3 first=140", "no statistics"),
        ("min=120", "min=135", "cannot be"),
        ("max=140", "max=140 max=140", "no statistics"),
        ("std=8", "std=80", "no runs have"),
        ("std=8", "sdt=8", "no statistics"),
        ("partially", "perhaps", "unknown line on delegates"),
        ("count=1 curr=90", "count=2 curr=90", "no statistics"),
        ("[node type]", "[kind]", "unknown head"),
        ("CUMSUM\t", "CUMSUM", "no row of a profile"),
        ("Run Order", "Run", "without the table"),
    ],
)
def test_contradictions_name_the_line(before: str, after: str, message: str) -> None:
    text = made("2.9", [140, 120, 130], enable_op_profiling="true")
    assert before in text
    profile = (
        text.index("Operator-wise") if before in ("[node type]", "CUMSUM\t", "Run Order") else 0
    )
    damaged = text[:profile] + text[profile:].replace(before, after)
    with pytest.raises(AgentError, match=message):
        parse_benchmark(damaged).runs.runs_us()


def test_runs_that_the_device_has_cut_short_are_told_by_the_last_lines() -> None:
    text = made("2.16", [140, 120, 130]).partition("INFO: Inference timings")[0]
    with pytest.raises(AgentError, match=r"0 times and not once; its last lines: .*count=3"):
        parse_benchmark(text)
