"""Readers against damaged files: every one gives a scan or a clear error, in time and in memory.

Usage: python benchmarks/fuzz.py [--count 5000] [--seed 0] [--nifti FILE ...] [--dicom FOLDER ...]

Each case takes one of the files, changes bits, bytes or whole fields of its header (or cuts it
off), and reads it. A traceback, more than 30 s or more than 4 GB is a
failure; its bytes are kept in --keep. Without files, small ones are made. Exit code 1 on failures.
"""

import argparse
import gzip
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from brainuad.read import read_any
from brainuad.types import BrainuadError

SECONDS, BYTES = 30, 4 * 2**30
EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nifti", type=Path, nargs="*", default=[])
    parser.add_argument("--dicom", type=Path, nargs="*", default=[])
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    return parser.parse_args()


def changed(content: bytes, rng: np.random.Generator, *, header: int) -> bytes:
    """One to six random changes, most of them within the first ``header`` bytes."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 7)):
        end = min(len(data), header if rng.random() < 0.9 else len(data))
        if end < 8:
            break
        at, width = int(rng.integers(0, end - 4)), int(rng.choice([1, 2, 4]))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at : at + width] = rng.bytes(width)
        elif kind == 2:
            data[at : at + width] = EXTREMES[int(rng.integers(0, 4))] * width
        elif kind == 3:
            data[at : at + 4] = np.float32(rng.choice([np.nan, np.inf, -1e30, 1e-30])).tobytes()
        elif kind == 4:
            del data[at : at + width]
        else:
            del data[int(rng.integers(0, len(data))) :]
    return bytes(data)


def small_nifti(folder: Path) -> list[Path]:
    """A NIfTI-1, a packed one and a NIfTI-2, of 6 x 7 x 8 voxels."""
    values = np.arange(336, dtype=np.int16).reshape(6, 7, 8)
    first, second = folder / "a_T1w.nii", folder / "b_T1w.nii"
    nib.Nifti1Image(values, np.diag([2.0, 2, 2, 1])).to_filename(first)
    nib.Nifti2Image(values, np.diag([2.0, 2, 2, 1])).to_filename(second)
    packed = folder / "c_T1w.nii.gz"
    packed.write_bytes(gzip.compress(first.read_bytes()))
    return [first, second, packed]


def small_dicom(folder: Path) -> list[Path]:
    """A series of ten slices."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    series, pixels = generate_uid(), np.arange(56, dtype="<i2").reshape(7, 8)
    folder.mkdir()
    for k in range(10):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
        one.SeriesInstanceUID, one.Modality, one.SeriesNumber = series, "MR", 1
        one.SeriesDescription, one.Rows, one.Columns = "t1_mprage", 7, 8
        one.ImagePositionPatient, one.PixelSpacing = [0, 0, 2 * k], [1, 1]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.PixelData = (pixels + k).tobytes()
        one.save_as(folder / f"{k:02d}.dcm", enforce_file_format=True)
    return [folder]


def nifti_case(source: Path, folder: Path, rng: np.random.Generator) -> Path:
    """A changed copy of a file; of packed ones the content or the packing is changed."""
    raw = source.read_bytes()
    path = folder / source.name
    if raw[:2] == b"\x1f\x8b" and rng.random() < 0.7:
        path.write_bytes(gzip.compress(changed(gzip.decompress(raw), rng, header=352), 1))
    else:
        path.write_bytes(changed(raw, rng, header=352))
    return path


def dicom_case(source: Path, folder: Path, rng: np.random.Generator) -> Path:
    """A copy of a series with one to three of its files changed."""
    copy = folder / "study"
    shutil.copytree(source, copy)
    files = sorted(p for p in copy.rglob("*") if p.is_file())
    for path in rng.choice(np.array(files, dtype=object), size=int(rng.integers(1, 4))):
        path.write_bytes(changed(path.read_bytes(), rng, header=1500))
    return copy


def outcome(path: Path) -> tuple[str, str]:
    """``read``, ``refused`` or ``FAILED``, and the words."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        scan = read_any(path)
    except BrainuadError as error:
        words = str(error)
        return ("refused", words) if "; " in words else ("FAILED", f"no advice: {words}")
    except BaseException:
        return "FAILED", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    good = np.isfinite(scan.voxels).all() and np.isfinite(scan.affine).all()
    return ("read", "") if good else ("FAILED", "a scan with voxels or places that are no numbers")


def main() -> None:
    args = arguments()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("30 s")))
    counts: Counter[str] = Counter()
    slowest, started = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        nifti = args.nifti or small_nifti(home)
        dicom = args.dicom or small_dicom(home / "series")
        kinds: list[tuple[str, Callable, list[Path]]] = [
            ("nifti", nifti_case, nifti), ("dicom", dicom_case, dicom),
        ]  # fmt: skip
        for number in range(args.count):
            rng = np.random.default_rng([args.seed, number])
            kind, make, files = kinds[number % 2]
            work = home / "work"
            work.mkdir()
            path = make(files[int(rng.integers(0, len(files)))], work, rng)
            began = time.perf_counter()
            result, words = outcome(path)
            slowest = max(slowest, time.perf_counter() - began)
            counts[f"{kind} {result}"] += 1
            if result == "FAILED":
                print(f"case {number}: {words.strip()[-700:]}\n", flush=True)
                shutil.copytree(work, args.keep / f"{args.seed}-{number}", dirs_exist_ok=True)
            shutil.rmtree(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    spent = time.perf_counter() - started
    print(dict(sorted(counts.items())))
    print(f"slowest {slowest:.2f} s, all {spent:.0f} s, memory {peak:.2f} GB")
    raise SystemExit(any("FAILED" in kind for kind in counts))


if __name__ == "__main__":
    main()
