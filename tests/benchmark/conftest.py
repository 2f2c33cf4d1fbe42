"""A benchmark of small phantoms, made by a stub of the benchmark's program."""

import csv
from pathlib import Path

import numpy as np
import pytest

from brainuad.nifti import write_volume
from brainuad.phantom import phantom
from brainuad.prepare.grid import MNI_2MM
from brainuad.scan import Scan
from brainuad.simulate import Look, plant

COARSE = np.diag([8.0, 8, 8, 1])
COARSE[:3, 3] = MNI_2MM.affine[:3, 3]

PROGRAM = '''
"""Stub: copies ready cases, as the real program makes them."""
import argparse, csv, pathlib, shutil, sys
import numpy as np

def to_2mm(array, affine):
    return array, affine

def head_region(volume):
    return volume > 0

def main():
    parser = argparse.ArgumentParser()
    for name in ("--data", "--bench", "--out"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--mini", action="store_true")
    args = parser.parse_args()
    if (args.bench / "broken").exists():
        print("subject: ground truth has 3 voxels, the recipe says 4")
        raise SystemExit(1)
    rows = list(csv.DictReader((args.bench / "ready.csv").open()))
    rows = rows[:3] if args.mini else rows
    for row in rows:
        for key in ("image", "gt", "region"):
            shutil.copy(args.data / "ready" / row[key], args.out / row[key])
    with (args.out / "cases.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)

if __name__ == "__main__":
    main()
'''


def brain_of(subject: str) -> Scan:
    return phantom(subject, shape=(20, 24, 20), affine=COARSE)


def save(path: Path, volume: np.ndarray, like: Scan, kind: str = "image") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, volume, like=like, kind=kind, code=4)  # pyright: ignore[reportArgumentType]


def make_ready(data: Path, subject: str, kind: str, size: str) -> dict[str, str]:
    """Files and list entry of one case."""
    scan, lesion = brain_of(subject), None
    if kind != "clean":
        how = "sham" if kind == "sham" else "infarct"
        look = Look(margin_mm=12.0, edge_mm=4.0)
        planted = plant(scan, seed=1, volume_ml=40, contrast=0.9, kind=how, look=look)
        scan, lesion = planted.scan, planted.lesion
    name = f"{subject}_{kind}"
    truth = np.zeros(scan.voxels.shape, bool) if lesion is None else lesion
    files = {key: f"{name}_{word}.nii.gz" for key, word in
             (("image", "img"), ("gt", "gt"), ("region", "region"))}  # fmt: skip
    save(data / "ready" / files["image"], scan.voxels, scan)
    save(data / "ready" / files["gt"], truth, scan, "mask")
    save(data / "ready" / files["region"], scan.voxels > 0, scan, "mask")
    return {"case": name, "kind": kind, **files, "gt_voxels": str(int(truth.sum())),
            "size_bin": size, "contrast": "strong"}  # fmt: skip


def make_patient(data: Path, word: str, modality: str) -> dict[str, str]:
    """One modality of a patient; the lesion is the same in all."""
    scan = phantom("patient", modality=modality, shape=(20, 24, 20), affine=COARSE)
    shape = np.zeros(scan.voxels.shape, bool)
    shape[11:16, 10:15, 10:15] = True
    planted = plant(scan, shape, seed=1, contrast=0.9)
    name = f"patient26_{word}"
    files = {"image": f"{name}_img.nii.gz", "gt": f"{name}_gt.nii.gz", "region": f"{name}_r.nii.gz"}
    save(data / "ready" / files["image"], planted.scan.voxels, scan)
    save(data / "ready" / files["gt"], planted.lesion, scan, "mask")
    save(data / "ready" / files["region"], scan.voxels > 0, scan, "mask")
    return {"case": name, "kind": "lesion", **files, "size_bin": "", "contrast": ""}


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the shared one: data, benchmarks/ixi-stroke, benchmarks/mslub."""
    root = tmp_path_factory.mktemp("shared")
    data, bench = root / "data", root / "benchmarks"
    roles: dict[str, str] = {f"p{n}": "train" for n in range(10)}
    roles |= {"c1": "calibrate", "c2": "calibrate", "s1": "test", "s2": "test"}
    people = []
    for subject, role in roles.items():
        file = f"healthy/{subject}_T1w_brain.nii.gz"
        if role != "test":
            scan = brain_of(subject)
            save(data / file, scan.voxels, scan)
        people.append({"subject": subject, "source": "IXI" if subject[0] != "s" else "other",
                       "file": file, "role": role})  # fmt: skip
    write_table(bench / "ixi-stroke" / "subjects.csv", people)
    ready = [make_ready(data, "s1", kind, "S") for kind in ("lesion", "clean", "sham")]
    ready += [make_ready(data, "s2", kind, "L") for kind in ("lesion", "clean")]
    write_table(bench / "ixi-stroke" / "ready.csv", ready)
    modalities = (("flair", "FLAIR"), ("t1", "T1w"), ("t2", "T2w"))
    patient = [make_patient(data, word, modality) for word, modality in modalities]
    write_table(bench / "mslub" / "ready.csv", patient)
    (bench / "make_cases.py").write_text(PROGRAM, encoding="utf-8")
    (bench / "baselines_dev.csv").write_text(
        "benchmark,method,auprc_subject,auprc_subject_lo,auprc_subject_hi,dice_max_pooled\n"
        "ixi-stroke,dark,0.1,0.05,0.2,0.3\n"
        "ixi-stroke,bright,0.01,0.0,0.02,0.1\n"
        "other,dark,0.9,0.8,1.0,0.9\n",
        encoding="utf-8",
    )
    return root
