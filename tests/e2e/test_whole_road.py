"""From generated brains to a report, by the commands alone; and a fit that is killed on its way."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from brainuad.nifti import read_scan, write_volume
from brainuad.phantom import phantom
from brainuad.scan import Scan
from brainuad.simulate import plant

SHAPE = (40, 48, 40)
AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = [-78, -112, -72]


def save(folder: Path, scan: Scan) -> None:
    path = folder / f"{scan.subject}_T1w.nii.gz"
    write_volume(path, scan.voxels, like=scan, kind="image", code=4)


def brainuad(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainuad", *(str(w) for w in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    for n in range(8):
        save(folder / "healthy", phantom(f"sub-h{n}", shape=SHAPE, affine=AFFINE))
    for n in range(2):
        save(folder / "others", phantom(f"sub-o{n}", shape=SHAPE, affine=AFFINE))
        brain = phantom(f"sub-t{n}", shape=SHAPE, affine=AFFINE)
        planted = plant(brain, seed=0, volume_ml=30, contrast=0.9)
        save(folder / "test", planted.scan)
        path = folder / "truth" / f"{planted.scan.subject}_T1w_lesion.nii.gz"
        write_volume(path, planted.lesion, like=planted.scan, kind="mask", code=4)
    return folder


def test_from_scans_to_a_report(cohort: Path, tmp_path: Path):
    done = brainuad(
        "fit", "-i", cohort / "healthy", "-o", tmp_path / "d", "--method", "dae", "--preset",
        "tiny", "--recipe", "phantom", "--set", "dae.sign=dark", "training.lr=2e-3", "--steps",
        40, "--calibrate", cohort / "others",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scans = sorted((cohort / "test").iterdir())
    done = brainuad(
        "detect", "-i", *scans, "-o", tmp_path / "found", "-m", tmp_path / "d", "--level", "full"
    )
    assert done.returncode == 0, done.stderr
    done = brainuad(
        "evaluate", "-i", tmp_path / "found", "--truth", cohort / "truth", "-o", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    assert lesions_stand_out(cohort, tmp_path / "found")
    with (tmp_path / "r" / "results.csv").open() as file:
        found = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert found["auprc_pooled"] > 2 * found["prevalence"]
    assert "AUPRC" in (tmp_path / "r" / "index.html").read_text()


def lesions_stand_out(cohort: Path, found: Path) -> bool:
    """Whether the map is higher in the lesion than in the rest of each brain, on average."""
    for path in sorted((cohort / "test").iterdir()):
        stem = path.name.removesuffix(".nii.gz")
        anomaly = read_scan(found / f"{stem}_anomalymap.nii.gz").voxels
        lesion = read_scan(cohort / "truth" / f"{stem}_lesion.nii.gz").voxels > 0
        rest = (read_scan(path).voxels > 0) & ~lesion
        if anomaly[lesion].mean() <= 1.5 * anomaly[rest].mean():
            return False
    return True


def fit_words(cohort: Path, out: Path) -> list[str]:
    words = [
        "fit", "-i", cohort / "healthy", "-o", out, "--method", "dae", "--preset", "tiny",
        "--recipe", "phantom", "--steps", 40, "--set", "training.checkpoint_steps=3",
        "training.num_threads=1",
    ]  # fmt: skip
    return [str(word) for word in words]


def killed_once(command: list[str], work: Path) -> bool:
    """Start the command, kill it without warning once there is a checkpoint; whether it was."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if list(work.glob("training/*.ckpt")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    return process.wait() == -signal.SIGKILL


def test_a_killed_fit_ends_with_the_bits_of_an_unbroken_one(cohort: Path, tmp_path: Path):
    done = brainuad(*fit_words(cohort, tmp_path / "whole"))
    assert done.returncode == 0, done.stderr
    words = fit_words(cohort, tmp_path / "broken")
    command = [sys.executable, "-m", "brainuad", *words]
    assert killed_once(command, tmp_path / "broken.work")
    assert not (tmp_path / "broken").exists()
    done = brainuad(*words)
    assert done.returncode == 0, done.stderr
    assert "prepared before" in done.stderr
    parts = [tmp_path / name / "weights.safetensors" for name in ("whole", "broken")]
    assert parts[0].read_bytes() == parts[1].read_bytes()
