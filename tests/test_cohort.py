"""Preparation of cohorts: resumable, a failure stops nothing, the same files from two workers."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.prepare.heads import person

from brainuad.cohort import done_before, prepare_cohort, read_report, write_page
from brainuad.manifest import sha256_file
from brainuad.nifti import read_scan, write_volume
from brainuad.prepare import recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.recipe import Recipe
from brainuad.prepare.resample import Crop
from brainuad.read.source import Source
from brainuad.types import UsageError


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for n, pose in enumerate([(0, 0, 0), (10, 0, 0)]):
        scan, _ = person(pose)
        write_volume(folder / f"sub-{n}_T1w.nii.gz", scan.voxels, like=scan, kind="image")
    (folder / "sub-9_T1w.nii").write_text("not an image")
    return folder


def sources(folder):
    return [Source(path=path) for path in sorted(folder.glob("*.nii*"))]


def run(folder, out, name="default-t1", **options):
    done = list(prepare_cohort(sources(folder), recipe(name), out, progress=False, **options))
    return {each.name: each for each in done}


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    return out, run(scans, out)


def test_every_scan_has_its_files_and_a_failure_its_reason(prepared):
    out, done = prepared
    assert {name: each.status for name, each in done.items()} == {
        "sub-0_T1w": "pass", "sub-1_T1w": "pass", "sub-9_T1w": "failed",
    }  # fmt: skip
    assert "sub-9_T1w.nii: not a NIfTI file" in done["sub-9_T1w"].why
    for name in ("sub-0_T1w", "sub-1_T1w"):
        for ending in ("_prepared.nii.gz", "_brain.nii.gz", "_prepare.json"):
            assert (out / f"{name}{ending}").is_file()
        assert (out / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_four_workers_write_the_same_bytes(scans, prepared, tmp_path):
    out, _ = prepared
    run(scans, tmp_path, workers=4)
    for name in ("sub-0_T1w_prepared.nii.gz", "sub-1_T1w_brain.nii.gz"):
        assert sha256_file(out / name) == sha256_file(tmp_path / name)


OLDER_MACHINE = {
    "ATEN_CPU_CAPABILITY": "default",
    "NPY_DISABLE_CPU_FEATURES": "FMA3 AVX2 AVX512F AVX512CD AVX512_SKX",
    "OPENBLAS_CORETYPE": "Nehalem",
    "MKL_CBWR": "COMPATIBLE",
}
"""Instructions of a processor of 2008, for the libraries that choose among several."""


@pytest.mark.slow
def test_an_older_machine_gives_the_same_to_a_ten_thousandth(scans, prepared, tmp_path):
    words = ["prepare", "-i", str(scans / "sub-1_T1w.nii.gz"), "-o", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "brainuad", *words],
        env=os.environ | OLDER_MACHINE,
        check=True,
        capture_output=True,
    )
    name = "sub-1_T1w_prepared.nii.gz"
    here, there = (read_scan(folder / name).voxels for folder in (prepared[0], tmp_path))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


def test_packed_and_unpacked_files_give_the_same_bytes(scans, tmp_path):
    import gzip

    raw = scans / "sub-0_T1w.nii.gz"
    plain = tmp_path / "in" / "sub-0_T1w.nii"
    plain.parent.mkdir()
    plain.write_bytes(gzip.decompress(raw.read_bytes()))
    hashes = []
    for path in (raw, plain):
        out = tmp_path / path.suffix
        list(prepare_cohort([Source(path=path)], recipe("default-t1"), out, progress=False))
        hashes.append(sha256_file(out / "sub-0_T1w_prepared.nii.gz"))
    assert hashes[0] == hashes[1]


def test_only_what_has_changed_is_done_again(scans, prepared, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(prepared[0], out)
    folder = tmp_path / "raw"
    shutil.copytree(scans, folder)
    again = run(folder, out)
    assert [each.known for each in again.values()] == [True, True, False]
    shutil.copy(folder / "sub-1_T1w.nii.gz", folder / "sub-0_T1w.nii.gz")
    again = run(folder, out)
    assert [each.known for each in again.values()] == [False, True, False]
    other = run(folder, out, "native")
    assert not any(each.known for each in other.values())
    report = json.loads((out / "sub-0_T1w_prepare.json").read_text())
    assert report["recipe_hash"] == recipe("native").hash


def test_a_broken_report_counts_as_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[1]")
    assert [read_report(tmp_path / n) for n in ("a.json", "b.json", "c.json")] == [{}, {}, {}]


def test_the_page_puts_trouble_first_and_opens_from_a_file(prepared):
    out, done = prepared
    page = write_page(out, list(done.values()), recipe=recipe("default-t1"), seconds=3.0)
    text = page.read_text()
    assert text.index("sub-9_T1w") < text.index("sub-0_T1w")
    assert 'src="pictures/sub-0_T1w.png"' in text
    assert "http" not in text.replace("http://www.w3.org", "")
    rows = (out / "failures.tsv").read_text().splitlines()
    assert rows[0] == "path\twhy"
    assert len(rows) == 2
    assert "not a NIfTI file" in rows[1]


def test_the_picture_shows_the_scan_and_where_it_went(prepared):
    from PIL import Image

    image = np.asarray(Image.open(prepared[0] / "pictures" / "sub-0_T1w.png").convert("RGB"))
    assert image.shape[0] > image.shape[1] * 0.6
    green = (image[..., 1] > 150) & (image[..., 0] < 160) & (image[..., 2] < 140)
    assert green[: len(image) // 2].sum() > 50
    assert green[len(image) // 2 :].sum() > 50


def test_a_rejected_scan_has_a_picture_and_no_prepared_files(tmp_path):
    scan, _ = person()
    inside = np.where(scan.voxels > 0, 1000 - scan.voxels, 0).astype(np.float32)
    good, out = tmp_path / "in" / "sub 1 #a?_T1w.nii", tmp_path / "out"
    write_volume(good, scan.voxels, like=scan, kind="image")
    (first,) = prepare_cohort([Source(path=good)], recipe("default-t1"), out, progress=False)
    assert first.status == "pass"
    write_volume(good, inside, like=scan, kind="image")
    (again,) = prepare_cohort([Source(path=good)], recipe("default-t1"), out, progress=False)
    assert again.status == "reject"
    assert "does not look like T1w" in again.why
    assert sorted(p.name for p in out.iterdir()) == ["pictures"]
    assert (out / "pictures" / "sub 1 #a?_T1w.png").is_file()
    page = write_page(out, [again], recipe=recipe("default-t1"), seconds=1.0).read_text()
    assert 'src="pictures/sub%201%20%23a%3F_T1w.png"' in page
    assert "reject" in page
    assert "does not look like T1w" in (out / "failures.tsv").read_text()


def test_what_fails_now_is_not_there_from_before(tmp_path):
    scan, _ = person()
    path, out = tmp_path / "a_T1w.nii", tmp_path / "out"
    write_volume(path, scan.voxels, like=scan, kind="image")
    list(prepare_cohort([Source(path=path)], recipe("default-t1"), out, progress=False))
    assert (out / "a_T1w_prepare.json").is_file()
    path.write_bytes(b"no longer a scan, but still a file of some length")
    (done,) = prepare_cohort([Source(path=path)], recipe("default-t1"), out, progress=False)
    assert done.status == "failed"
    assert not [p for p in out.rglob("*") if p.is_file()]


QUICK = Recipe(name="quick", steps=(Brain(how="background"), Crop(), Intensity()))


@pytest.fixture(scope="module")
def quick(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    return out, list(prepare_cohort(sources(scans)[:2], QUICK, out, progress=False))


def test_a_recipe_without_checks_does_not_say_pass(quick):
    out, done = quick
    assert [each.status for each in done] == ["not checked", "not checked"]
    text = write_page(out, done, recipe=QUICK, seconds=1.0).read_text()
    assert 'class="badge not-checked">not checked<' in text
    assert 'class="badge pass"' not in text
    assert re.search(r"not checked \(the recipe has no checks\)</th><td>2<", text)


def test_without_registration_the_page_says_why_the_overlap_is_missing(scans, tmp_path):
    own = Recipe(name="own", steps=(*QUICK.steps, Checks()))
    (done,) = prepare_cohort(sources(scans)[:1], own, tmp_path, progress=False)
    assert done.status == "pass"
    text = write_page(tmp_path, [done], recipe=own, seconds=1.0).read_text()
    assert re.search(r"check overlap</th><td>left out: no register step", text)
    assert "<th>overlap</th>" not in text


def test_an_unknown_modality_is_a_warning_on_the_page(scans, tmp_path):
    shutil.copy(scans / "sub-0_T1w.nii.gz", tmp_path / "head.nii.gz")
    own = Recipe(name="own", steps=(*QUICK.steps, Checks(overlap=None)))
    (done,) = prepare_cohort([Source(path=tmp_path / "head.nii.gz")], own, tmp_path, progress=False)
    assert (done.status, done.why) == ("warn", "modality unknown")
    assert "modality unknown" in write_page(tmp_path, [done], recipe=own, seconds=1.0).read_text()


def test_a_map_of_labels_is_rejected_with_the_reason(scans, tmp_path):
    scan = read_scan(scans / "sub-0_T1w.nii.gz")
    tissue = np.digitize(scan.voxels, np.percentile(scan.voxels[scan.voxels > 0], (0, 33, 66)))
    path = tmp_path / "labels_T1w.nii.gz"
    write_volume(path, tissue.astype(np.float32), like=scan, kind="image")
    own = Recipe(name="own", steps=(*QUICK.steps, Checks()))
    (done,) = prepare_cohort([Source(path=path)], own, tmp_path / "out", progress=False)
    assert done.status == "reject"
    assert "looks like a map of labels, not like a scan" in done.why


def test_what_is_left_out_of_a_study_stands_beside_the_scan(tmp_path):
    studies = pytest.importorskip("tests.read.studies")
    made = studies.slices(studies.voxels(), np.diag([1.0, 1.0, 2.0, 1.0]))
    folder = studies.write(made, tmp_path / "study")
    for n in range(5):
        (folder / f"{n}.txt").write_text("x" * 200)
    whole = Recipe(name="whole", steps=(Brain(how="everything"), Intensity()))
    (done,) = prepare_cohort([Source(path=folder)], whole, tmp_path / "out", progress=False)
    first = ", ".join(f"{n}.txt (no DICOM)" for n in range(3))
    assert done.why == f"left out: {first} and 2 more"
    assert len(read_report(tmp_path / "out" / "study_prepare.json")["input"]["left_out"]) == 5


def test_a_page_of_one_scan_and_no_table_without_failures(quick, tmp_path):
    _, done = quick
    stale = tmp_path / "failures.tsv"
    stale.write_text("path\twhy\nold.nii\told\n")
    text = write_page(tmp_path, done[:1], recipe=QUICK, seconds=1.0).read_text()
    assert "<h1>Preparation of 1 scan</h1>" in text
    assert not stale.exists()
    text = write_page(tmp_path, done, recipe=QUICK, seconds=1.0, missing=1).read_text()
    assert "<h1>Preparation of 2 scans</h1>" in text
    assert re.search(r"stopped before</th><td>1 scan<", text)


def test_what_an_earlier_run_did_is_known_by_its_recipe(scans, quick, tmp_path):
    out, _ = quick
    found = done_before(sources(scans), QUICK, out)
    assert [(each.name, each.known) for each in found] == [
        ("sub-0_T1w", True), ("sub-1_T1w", True),
    ]  # fmt: skip
    other = Recipe(name="quick", steps=(*QUICK.steps[:2], Intensity(high=98.0)))
    assert done_before(sources(scans), other, out) == []
    assert done_before(sources(scans), QUICK, tmp_path) == []


def test_a_recipe_without_a_brain_step_is_refused_before_the_first_scan(scans, tmp_path):
    bare = Recipe(name="bare", steps=(Crop(), Intensity()))
    with pytest.raises(UsageError, match=r"recipe bare: has no brain step, and .*sub-0_T1w.nii.gz"):
        next(iter(prepare_cohort(sources(scans), bare, tmp_path, progress=False)))
    masked = [Source(path=p.path, brain=tmp_path / "mask.nii") for p in sources(scans)]
    assert next(iter(prepare_cohort(masked, bare, tmp_path, progress=False))).status == "failed"
