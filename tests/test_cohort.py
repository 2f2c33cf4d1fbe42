"""Preparation of cohorts: resumable, a failure stops nothing, the same files from two workers."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.prepare.heads import person

from brainuad.cohort import prepare_cohort, read_report, write_page
from brainuad.manifest import sha256_file
from brainuad.nifti import read_scan, write_volume
from brainuad.prepare import recipe
from brainuad.read.source import Source


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
