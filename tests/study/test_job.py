"""Job files: defaults, strictness with lines and neighbours, paths, budgets."""

import dataclasses
import re
from pathlib import Path

import pytest

from edgenas import spaces
from edgenas.core.errors import DeviceError, EdgenasError, SchemaError, UsageError
from edgenas.core.objective import OBJECTIVES, Constraint
from edgenas.core.schema import parse_yaml
from edgenas.oneshot.data.settings import DataSettings
from edgenas.oneshot.settings import TrainingSettings, scheduled
from edgenas.profiling.whole_networks import NetworkSettings
from edgenas.profiling.workload import MISSING_NETWORKS, ProfileSettings
from edgenas.study.api import with_tables
from edgenas.study.context import Run
from edgenas.study.job import (
    DataSection,
    Job,
    MeasureSection,
    NetworksSection,
    ProfileSection,
    TrainingSection,
    load_job,
)
from edgenas.study.job_checks import searcher_settings
from edgenas.study.run_folder import RunFolder
from edgenas.study.table_names import TableName
from tests.tiny_job import TINY_JOB, write_job

LEAST = "schema_version: 1\nname: least\ndata: {source: digits}\n"


def job(tmp_path: Path, text: str) -> Job:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return load_job(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(EdgenasError) as caught:
        job(tmp_path, text)
    return str(caught.value)


def test_everything_but_name_and_data_has_a_default(tmp_path: Path) -> None:
    found = job(tmp_path, LEAST)
    assert found.objectives == ("accuracy", "latency_ms")
    assert (found.device.id, found.device.runtime) == ("local", "onnxruntime")
    assert found.pick == "knee"
    assert found.budgets() == ()


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    found = job(tmp_path, TINY_JOB)
    assert parse_yaml(found.to_yaml(), Job) == found


def test_sections_mirror_the_settings_they_stand_for() -> None:
    space = spaces.get("mbv3_tiny")
    assert ProfileSection().to_settings(space) == ProfileSettings.for_space(space)
    assert ProfileSection(n_runs=7).to_settings(space).n_runs == 7
    assert ProfileSection(tables="own").to_settings(space) == ProfileSettings.for_space(space)
    profiling = {field.name for field in dataclasses.fields(ProfileSettings)}
    assert set(ProfileSection.model_fields) - {"tables", "missing", "networks"} == profiling
    few = ProfileSection(missing=True)
    assert few.to_settings(space).n_networks == MISSING_NETWORKS
    assert ProfileSection(missing=True, n_networks=80).to_settings(space).n_networks == 80
    networks = {field.name for field in dataclasses.fields(NetworkSettings)}
    assert set(NetworksSection.model_fields) == networks
    assert NetworksSection().to_settings() == NetworkSettings()
    assert NetworksSection(load_s=6, seed=3).to_settings() == NetworkSettings(load_s=6, seed=3)
    given = ProfileSection(n_sessions=2, n_session_networks=10).to_settings(space)
    assert (given.n_sessions, given.n_session_networks) == (2, 10)
    training = {field.name for field in dataclasses.fields(TrainingSettings)}
    assert set(TrainingSection.model_fields) - {"seed", "schedule", "weights"} == training
    assert MeasureSection().n_visits >= 2


def test_other_costs_are_objectives_and_limits(tmp_path: Path) -> None:
    text = LEAST + (
        "objectives: [accuracy, latency_ms, energy_mj]\n"
        "constraints: ['peak_memory_mib <= 20 @ 90%']\n"
        "pick: load_ms<=30, sustained_p95_ms <= 2\n"
    )
    found = job(tmp_path, text)
    assert [budget.name for budget in found.budgets()] == [
        "load_ms",
        "sustained_p95_ms",
        "peak_memory_mib",
    ]
    run = Run(RunFolder(tmp_path / "run"), found)
    assert run.searched_kinds == ("latency", "energy", "peak_memory")
    assert run.kinds == ("latency", "energy", "load", "peak_memory", "sustained_p95")
    names = [str(name) for name in run.needed_tables]
    assert names[0] == "onnxruntime"
    assert [name for name in names if "." in name] == [
        "onnxruntime.energy",
        "onnxruntime.load",
        "onnxruntime.peak_memory",
        "onnxruntime.sustained_p95",
    ]
    assert run.table_path("onnxruntime", "energy").name == "onnxruntime-float32.energy.csv"
    with pytest.raises(DeviceError, match="says nothing of power"):
        run.check_names()


def test_without_other_costs_nothing_else_is_asked_for(tmp_path: Path) -> None:
    run = Run(RunFolder(tmp_path / "run"), job(tmp_path, LEAST))
    assert run.kinds == run.searched_kinds == ("latency",)
    assert {name.kind for name in run.needed_tables} == {"latency"}


def test_tables_have_names() -> None:
    for name in (TableName("litert"), TableName("onnxruntime", "peak_memory")):
        assert TableName.parse(str(name)) == name
    with pytest.raises(UsageError, match="of the kind 'enrgy'"):
        TableName.parse("onnxruntime.enrgy")


def test_training_section_changes_only_what_it_gives() -> None:
    preset = TrainingSettings(epochs=40, lr=0.1)
    assert TrainingSection(seed=7).over(preset) == preset
    assert TrainingSection(epochs=3).over(preset) == dataclasses.replace(preset, epochs=3)


def test_a_schedule_and_changes_of_its_phases(tmp_path: Path) -> None:
    text = LEAST + (
        "training:\n"
        "  schedule: ofa_cpu\n"
        "  batch_size: 32\n"
        "  phases:\n"
        "    full: {epochs: 3, lr: 0.2}\n"
        "    depth1: {epochs: 0, elastic: {depth: [2, 3], resolution: all}}\n"
    )
    found = job(tmp_path, text)
    settings = found.training.over(TrainingSettings(epochs=40))
    phases = {phase.name: phase for phase in settings.phases}
    assert (phases["full"].epochs, phases["full"].lr, settings.batch_size) == (3, 0.2, 32)
    assert phases["depth1"].elastic == {"depth": (2, 3), "resolution": "all"}
    assert phases["kernel"] == scheduled("ofa_cpu").phases[1]
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    assert load_job(tmp_path / "again.yaml").training.over(TrainingSettings(epochs=1)) == settings


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("  schedule: ofa_gpu\n", "no schedule 'ofa_gpu'; allowed: ofa, ofa_cpu"),
        ("  schedule: ofa\n  epochs: 3\n", "epochs beside the schedule ofa, whose phases"),
        ("  phases: {full: {epochs: 3}}\n", "phases full without a schedule; name one"),
        (
            "  schedule: ofa\n  phases: {ful: {epochs: 3}}\n",
            "ofa has no phase 'ful'; allowed: .*full",
        ),
        ("  schedule: ofa\n  phases: {full: {epoch: 3}}\n", "unknown key 'epoch'"),
        (
            "  schedule: ofa\n  phases: {full: {elastic: {kernels: all}}}\n",
            "kernels is no dimension",
        ),
    ],
)
def test_schedules_that_cannot_be_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    assert re.search(message, refusal(tmp_path, LEAST + "training:\n" + lines))


def test_unknown_key_names_line_allowed_and_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, LEAST + "search:\n  n_evaluation: 5\n")
    assert "job.yaml:5" in message
    assert "unknown key 'n_evaluation' in search" in message
    assert "nearest: n_evaluations" in message
    assert "algorithm" in message


def test_unknown_top_level_key_and_all_problems_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, LEAST + "objectivs: [accuracy]\nsearch: {seed: -1}\n")
    assert "job.yaml:4: unknown key 'objectivs'" in message
    assert "nearest: objectives" in message
    assert "job.yaml:5: search.seed" in message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("objectives: [accuracy, latency]\n", 4, "nearest: latency_ms"),
        ("objectives: []\n", 4, "objectives"),
        ("device: {precision: float8}\n", 4, "float32"),
        ("constraints: ['latency_ms < 2']\n", 4, "not a constraint"),
        ("constraints: ['latency_ms >= 2']\n", 4, "write <="),
        ("pick: fastest\n", 4, "picks nothing"),
        ("pick: latency_ms <= 2 @ 120%\n", 4, "confidence"),
        ("profile: {n_networks: 5}\n", 4, "20"),
        ("profile: {n_sessions: 1}\n", 4, "2"),
        ("profile: {n_session_networks: 9}\n", 4, "10"),
        ("profile: {tables: shipped}\n", 4, "own"),
        ("search: {n_validation_images: 0}\n", 4, "n_validation_images"),
        ("training: {epochs: many}\n", 4, "integer"),
        ("name: [x]\n", 4, "there twice"),
        ("export:\n  tensorrt: {compute_capability: sm_87}\n", 5, "compute_capability"),
        ("export:\n  tensorrt: {build: there}\n", 5, "device"),
        ("export:\n  tensorrt: {runtime: trtexec}\n", 5, "without build: device"),
        ("export:\n  tensorrt: {build: ahead, timing_cache: false}\n", 5, "says nothing"),
        ("export:\n  tensorrt: {build: device, timing_cache: here}\n", 5, "timing_cache"),
    ],
)
def test_wrong_values_name_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    message = refusal(tmp_path, LEAST + text)
    assert f"job.yaml:{line}" in message
    assert words in message


def test_missing_keys_are_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, "schema_version: 1\n")
    assert "'name' is missing" in message
    assert "'data' is missing" in message


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    assert "schema_version" in refusal(tmp_path, LEAST.replace("1", "2", 1))


def test_repeated_objectives_and_targets_are_refused(tmp_path: Path) -> None:
    assert "accuracy stands there more" in refusal(
        tmp_path, LEAST + "objectives: [accuracy, accuracy]\n"
    )
    assert "onnx stands there more" in refusal(
        tmp_path, LEAST + "export: {targets: [onnx, onnx]}\n"
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("shared.db", "{}/shared.db"),
        ("sqlite:///shared.db", "{}/shared.db"),
        ("/data/shared.journal", "/data/shared.journal"),
        ("postgresql+psycopg://me@host/nas", "postgresql+psycopg://me@host/nas"),
    ],
)
def test_a_storage_of_the_search_holds_from_anywhere(
    tmp_path: Path, given: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = job(tmp_path, LEAST + f"search: {{storage: '{given}'}}\n")
    assert found.search.storage == wanted.format(tmp_path)
    monkeypatch.chdir("/")
    assert job(tmp_path, found.to_yaml()) == found


def test_samplers_of_optuna_are_searchers_of_jobs(tmp_path: Path) -> None:
    def settings(sampler: str) -> dict[str, object]:
        text = f"search: {{algorithm: optuna, settings: {{sampler: '{sampler}'}}}}\n"
        return searcher_settings(job(tmp_path, LEAST + text))

    assert settings("NSGAIIISampler") == {"sampler": "NSGAIIISampler"}
    with pytest.raises(UsageError, match="nearest: TPESampler"):  # now, not after training
        settings("TPSampler")


def test_storages_that_cannot_be_are_refused(tmp_path: Path) -> None:
    def message(storage: str) -> str:
        return refusal(tmp_path, LEAST + f"search: {{storage: '{storage}'}}\n")

    assert "give a file ending in .db" in message("shared.txt")
    with_password = message("postgresql://me:secret@host/nas")
    assert "put it into ~/.pgpass" in with_password


def test_missing_file_is_an_error_of_the_document(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot read"):
        load_job(tmp_path / "absent.yaml")


def test_paths_do_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = LEAST.replace("digits", '"npz:images.npz"') + "device: {id: own.yaml}\n"
    found = job(tmp_path, text)
    assert found.data.source == f"npz:{tmp_path / 'images.npz'}"
    assert found.device.id == str(tmp_path / "own.yaml")


def test_data_keys_are_the_settings_of_data() -> None:
    section = DataSection(source="digits").model_dump(exclude={"source"})
    assert section == dataclasses.asdict(DataSettings())


def test_images_in_files_are_described_in_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = """
  source: "imagefolder:photos"
  in_memory: false
  workers: 2
  crop_scale: [0.25, 1]
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]
  calibration: mine"""
    found = job(tmp_path, LEAST.replace("{source: digits}", data)).data
    assert found.calibration == str(tmp_path / "mine")
    assert (found.in_memory, found.workers, found.crop_scale) == (False, 2, (0.25, 1.0))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("in_memry: false", "nearest: in_memory"),
        ("workers: -1", "workers"),
        ("workers: many", "workers"),
        ("memory_limit_gib: 0", "memory_limit_gib"),
        ("crop_scale: [0.5]", "crop_scale"),
        ("brightness: 2", "brightness"),
        ("mean: [0.5]", "mean and std of the data come together"),
        ("image_channels: 2", "allowed: 1, 3"),
    ],
)
def test_wrong_data_keys_are_refused(tmp_path: Path, key: str, words: str) -> None:
    message = refusal(tmp_path, LEAST.replace("source: digits", f"source: digits, {key}"))
    assert "job.yaml:3" in message
    assert words in message


def test_budgets_are_the_pick_and_the_constraints(tmp_path: Path) -> None:
    text = LEAST + "constraints: [n_macs<=1e6]\npick: latency_ms<=2@90%, n_params <= 1000\n"
    found = job(tmp_path, text)
    assert found.pick == "latency_ms <= 2 @ 90%, n_params <= 1000"
    assert found.budgets() == (
        Constraint("latency_ms", 2.0, 0.9),
        Constraint("n_params", 1000.0),
        Constraint("n_macs", 1e6),
    )


def test_changed_jobs_are_checked_like_files(tmp_path: Path) -> None:
    found = load_job(write_job(tmp_path))
    assert found.changed(pick="n_macs<=1e6").pick == "n_macs <= 1000000"
    assert found.changed(pick="0123abcd").pick == "0123abcd"
    with pytest.raises(UsageError, match=r"pick: 'soon' picks nothing"):
        found.changed(pick="soon")


def test_tables_and_what_they_may_differ_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    text = "device: {tables: {litert: old.csv, onnxruntime: a/b/c}, accept_mismatch: [device]}\n"
    found = load_job(write_job(tmp_path, ("training:", f"{text}training:"))).device
    assert found.tables == {"litert": str(tmp_path / "old.csv"), "onnxruntime": "a/b/c"}
    assert found.accept_mismatch == ("device",)
    wrong = text.replace("[device]", "[devices]")
    with pytest.raises(SchemaError, match=r"cannot differ in 'devices'; .*nearest: device"):
        load_job(write_job(tmp_path, ("training:", f"{wrong}training:")))
    given = with_tables(load_job(write_job(tmp_path)), {"": "old.csv"}, ["threads"])
    assert given.device.tables == {"onnxruntime": str(tmp_path / "old.csv")}
    again = with_tables(given, {"litert": "x/y/z"}, ["threads", "device"])
    assert set(again.device.tables) == {"litert", "onnxruntime"}
    assert again.device.accept_mismatch == ("threads", "device")
    with pytest.raises(UsageError, match="cannot differ in"):
        with_tables(given, {}, ["size"])


def test_objectives_are_known_ones_and_those_of_other_devices(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"

    def job(objectives: str, also: str = "") -> Job:
        device = f"device: {{also: {also}}}\n" if also else ""
        path.write_text(
            f"schema_version: 1\nname: a\ndata: {{source: digits}}\n{device}"
            f"objectives: [{objectives}]\nconstraints: [latency_ms.a-b <= 3]\n"
        )
        return load_job(path)

    every = ", ".join(OBJECTIVES)
    assert job(every).objectives == tuple(OBJECTIVES)
    found = job("accuracy, latency_ms.pixel8, energy_mj.a-b", "{pixel8: no/such/table}")
    assert found.objectives[1:] == ("latency_ms.pixel8", "energy_mj.a-b")
    assert found.device.also == {"pixel8": "no/such/table"}
    assert found.constraints == ("latency_ms.a-b <= 3",)
    for wrong, words in (
        ("latency", "unknown objective 'latency'"),
        ("accuracy.pixel8", "the same on every device"),
        ("latency_ms.a b", "is no label"),
    ):
        with pytest.raises(SchemaError, match=words):
            job(wrong)
    with pytest.raises(SchemaError, match="is no label of a device"):
        job("accuracy", '{"a.b": x}')
