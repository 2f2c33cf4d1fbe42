"""Lists of local benchmarks: who is in which role, what is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainuad.benchmark import Entry, load_benchmark
from brainuad.benchmark.baselines import baselines
from brainuad.benchmark.cases import program
from brainuad.benchmark.entries import UNTRAINED, entries_of, unfitted
from brainuad.benchmark.sources import Source
from brainuad.normative import NormativeOptions
from brainuad.postprocess import Postprocess
from brainuad.train import TrainSettings
from brainuad.types import DataError, MissingError, UsageError


def test_roles_of_ixi_stroke_do_not_overlap(shared: Path, tmp_path: Path):
    (task,) = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    assert [s.subject for s in task.train] == [f"p{n}" for n in range(10)]
    assert [s.subject for s in task.calibration] == ["c1", "c2"]
    assert {c.subject for c in task.cases} == {"s1", "s2"}
    kinds = [c.kind for c in task.cases]
    assert (kinds.count("lesion"), kinds.count("clean"), kinds.count("sham")) == (2, 2, 1)
    assert task.cases[0].strata == {"size": "S", "contrast": "strong", "source": "other"}


def test_cases_are_made_once(shared: Path, tmp_path: Path):
    first = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    stamp = (tmp_path / "cases" / "cases.csv").stat().st_mtime_ns
    assert load_benchmark("ixi-stroke", shared, tmp_path / "cases") == first
    assert (tmp_path / "cases" / "cases.csv").stat().st_mtime_ns == stamp


def test_subject_in_training_and_test_is_refused_by_name(shared: Path, tmp_path: Path):
    bench = tmp_path / "benchmarks" / "ixi-stroke"
    bench.mkdir(parents=True)
    source = shared / "benchmarks"
    (bench.parent / "make_cases.py").write_bytes((source / "make_cases.py").read_bytes())
    (bench / "ready.csv").write_bytes((source / "ixi-stroke" / "ready.csv").read_bytes())
    text = (source / "ixi-stroke" / "subjects.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    lines = [",".join(rows[0])] + [",".join(r.values()) for r in rows]
    lines.append(lines[-2].replace("test", "train"))
    (bench / "subjects.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "data").symlink_to(shared / "data")
    with pytest.raises(DataError, match="ixi-stroke: s1 in both training and test"):
        load_benchmark("ixi-stroke", tmp_path, tmp_path / "cases")


def test_program_that_stops_leaves_nothing_behind(shared: Path, tmp_path: Path):
    bench = tmp_path / "benchmarks" / "ixi-stroke"
    bench.mkdir(parents=True)
    program_file = shared / "benchmarks" / "make_cases.py"
    (bench.parent / "make_cases.py").write_bytes(program_file.read_bytes())
    (bench / "broken").touch()
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"stopped with status 1 \(subject: ground truth has 3"):
        load_benchmark("ixi-stroke", tmp_path, tmp_path / "cases")
    assert not (tmp_path / "cases").exists()


def test_unknown_benchmark_lists_the_choices(shared: Path, tmp_path: Path):
    with pytest.raises(
        UsageError, match="benchmark 'atlas': unknown; choose from ixi-stroke, lgg-flair, mslub"
    ):
        load_benchmark("atlas", shared, tmp_path)


def test_missing_folders_are_named(tmp_path: Path):
    with pytest.raises(MissingError, match="benchmarks/ixi-stroke: not there; give the folder"):
        load_benchmark("ixi-stroke", tmp_path, tmp_path / "cases")
    with pytest.raises(MissingError, match=r"nothing\.py: no such program"):
        program(tmp_path / "nothing.py")


def test_folder_with_other_things_is_not_taken_for_cases(shared: Path, tmp_path: Path):
    (tmp_path / "cases").mkdir()
    with pytest.raises(UsageError, match="holds no cases of a benchmark; choose another output"):
        load_benchmark("ixi-stroke", shared, tmp_path / "cases")


def test_scan_goes_through_the_function_that_the_benchmark_asks_for(shared: Path, tmp_path: Path):
    halved = tmp_path / "make_cases.py"
    halved.write_text(
        "def to_2mm(array, affine):\n    return array[::2, ::2, ::2] // 2, affine * [2, 2, 2, 1]\n",
        encoding="utf-8",
    )
    path = shared / "data" / "healthy" / "p1_T1w_brain.nii.gz"
    plain = Source(subject="p1", path=path, modality="T1w").read()
    thin = Source(subject="p1", path=path, modality="T1w", thinned_by=halved).read()
    np.testing.assert_array_equal(thin.voxels, plain.voxels[::2, ::2, ::2] // 2)
    assert thin.spacing == pytest.approx([16.0] * 3)


def test_simple_methods_of_the_task_come_with_their_intervals(shared: Path, tmp_path: Path):
    (task,) = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    rows = baselines(task, shared / "benchmarks")
    assert {(r.method, r.metric) for r in rows} == {
        ("dark", "auprc_subject"),
        ("dark", "dice_oracle_pooled"),
    }
    assert (rows[0].value, rows[0].low, rows[0].high) == (0.1, 0.05, 0.2)
    assert rows[1].threshold_source == "oracle"
    assert {r.n for r in rows} == {2}
    assert not baselines(task, tmp_path)


@pytest.mark.parametrize(
    ("text", "label", "steps", "seconds"),
    [
        ("intensity", "intensity-default", None, None),
        ("dae:dark", "dae-dark", None, None),
        ("dae@2000", "dae-default", 2000, None),
        ("mad_ad:small@1h30m", "mad_ad-small", None, 5400.0),
    ],
)
def test_entries_read_method_preset_and_end(
    text: str, label: str, steps: int | None, seconds: float | None
):
    entry = Entry.parse(text)
    assert (entry.label, entry.steps, entry.time_budget) == (label, steps, seconds)
    settings = entry.settings(TrainSettings(epochs=3, lr=0.5))
    assert settings.lr == 0.5
    assert settings.epochs == (None if steps or seconds else 3)
    assert (settings.steps, settings.time_budget) == (steps, seconds)


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_settings_is_an_entry(shared: Path, tmp_path: Path):
    path = settings_file(
        tmp_path,
        "{method: dae, preset: tiny, modality: CT, dae: {noise_std: 0.1}, training: {steps: 7},"
        " normative: {of: residual}}",
    )
    entry = Entry.parse(str(path))
    assert entry.fit is not None
    assert (entry.label, entry.method, entry.preset) == ("mine", "dae", "tiny")
    assert entry.settings(TrainSettings(lr=0.5)) == replace(entry.fit.training, lr=0.5)
    assert entry.settings(TrainSettings()).steps == 7
    (task,) = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    config = unfitted(entry, task).config
    assert config.options["noise_std"] == 0.1
    assert config.normative == NormativeOptions(of="residual")
    # The scans are the task's.
    assert (config.modality, config.recipe) == ("T1w", task.recipe)
    assert config.postprocess == task.postprocess


def test_a_file_of_settings_may_say_how_maps_are_post_processed(shared: Path, tmp_path: Path):
    path = settings_file(tmp_path, "{method: intensity, postprocess: {median: 3}}")
    (task,) = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    assert unfitted(Entry.parse(str(path)), task).config.postprocess == Postprocess(median=3)


def test_a_file_of_settings_that_is_wrong_is_refused(tmp_path: Path):
    with pytest.raises(MissingError, match="nowhere.yaml"):
        Entry.parse("nowhere.yaml")
    with pytest.raises(UsageError, match=r"mine.yaml: unknown setting 'magic'; known: method"):
        Entry.parse(str(settings_file(tmp_path, "{method: dae, magic: 1}")))
    with pytest.raises(UsageError, match=r"mine.yaml: names no method; write `method:` and one of"):
        Entry.parse(str(settings_file(tmp_path, "{preset: small}")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "method '': not understood"),
        ("dae:dark:bright", "method 'dae:dark:bright': not understood; write method"),
        ("magic", "method 'magic': unknown; choose from"),
        ("dae:magic", "method 'dae': unknown preset 'magic'; choose from"),
        ("dae@soon", "duration 'soon': not understood"),
    ],
)
def test_entries_that_cannot_be_read_are_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        Entry.parse(text)


def test_method_twice_is_refused(shared: Path, tmp_path: Path):
    (task,) = load_benchmark("ixi-stroke", shared, tmp_path / "cases")
    with pytest.raises(UsageError, match="dae-dark asked for twice; name each once"):
        entries_of(task, ["dae:dark", "dae:dark@3"])


def test_untrained_entry_is_a_method():
    assert Entry.parse(UNTRAINED).method == "intensity"


def test_mslub_is_one_task_for_each_modality(shared: Path, tmp_path: Path):
    tasks = load_benchmark("mslub", shared, tmp_path / "cases")
    assert [t.name for t in tasks] == ["mslub/FLAIR", "mslub/T1w", "mslub/T2w"]
    assert [len(t.train) for t in tasks] == [0, 10, 0]
    for task in tasks:
        (case,), (healthy,) = task.cases, task.calibration
        assert healthy.path == case.image
        assert healthy.without == case.truth
        methods = [e.label for e in entries_of(task, ["dae:dark"])]
        assert methods == (["dae-dark"] if task.train else ["intensity-bright"])
