"""``brainuad evaluate`` from files: groups, comparisons, restoration, and every bad input."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainuad.cli import main
from brainuad.evaluate.restoration import restoration
from brainuad.nifti import write_volume
from brainuad.scan import Scan

SHAPE = (12, 11, 10)
AFFINE = np.diag([2.0, 2, 2, 1])
ILL, WELL = range(4), range(4, 7)


def like(subject: str, affine=AFFINE, shape=SHAPE) -> Scan:
    voxels = np.random.default_rng(len(subject)).random(shape).astype(np.float32)
    return Scan(voxels=voxels, affine=affine, modality="T1w", subject=subject)


def name(number: int) -> str:
    return f"sub-{number}"


def volume(number: int, *, kind: int) -> np.ndarray:
    return np.random.default_rng([number, kind]).random(SHAPE).astype(np.float32)


def lesion(number: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[2 : 5 + number % 2, 3:6, 3:6] = number in ILL
    return mask


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit, match=r"\d+") as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), " ".join((captured.out + captured.err).split())

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Maps with a brain of their own, records, lesion masks, and a table of pairs."""
    lines = ["map\tlesion\tsubject"]
    for number in [*ILL, *WELL]:
        scan, stem = like(name(number)), tmp_path / "maps" / f"{name(number)}_T1w"
        anomaly = volume(number, kind=0) + 0.6 * lesion(number)
        write_volume(f"{stem}_anomalymap.nii.gz", anomaly, like=scan)
        write_volume(f"{stem}_brain.nii.gz", np.ones(SHAPE), like=scan, kind="mask")
        record = {
            "method": "made",
            "subject": name(number),
            "threshold": {"rate": 0.01, "value": 0.9},
        }
        Path(f"{stem}_uad.json").write_text(json.dumps(record))
        mask = f"{name(number)}_T1w_lesion.nii.gz"
        if number in ILL:
            write_volume(tmp_path / "truth" / mask, lesion(number), like=scan, kind="mask")
        path = f"truth/{mask}" if number in ILL else ""
        lines.append(f"{stem.name}_anomalymap.nii.gz\t{path}\t{name(number)}")
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    people = ["subject\tage\tsex\tsite"]
    people += [f"{name(n)}\t{20 + 10 * n}\t{'FM'[n % 2]}\t" for n in [*ILL, *WELL]]
    (tmp_path / "people.tsv").write_text("\n".join(people) + "\n")
    return tmp_path


def words(data: Path, *more: object, out: str = "out") -> list[object]:
    given = ["evaluate", "-i", data / "maps", "--truth", data / "pairs.tsv", "-o", data / out]
    return [*given, *more]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(data: Path, out: str = "out") -> dict[str, dict[str, str]]:
    return {row["metric"]: row for row in rows(data / out / "results.csv")}


# Groups


def test_groups_have_rows_and_small_ones_are_said(run, data: Path):
    code, said = run(*words(data, "--subjects", data / "people.tsv", "--by", "sex,age"))
    assert code == 0, said
    found = results(data)
    cases = {row["subject"]: row for row in rows(data / "out" / "cases.csv")}
    women = [float(cases[name(n)]["auprc"]) for n in ILL if n % 2 == 0]
    assert float(found["auprc_subject[sex=F]"]["value"]) == pytest.approx(np.mean(women))
    assert found["auprc_subject[sex=F]"]["n"] == "2"
    assert {"healthy_fp_ml[sex=M]", "healthy_fpr[age=60-79]", "auprc_subject[age=20-39]"} <= set(
        found
    )
    assert not any("site" in metric for metric in found)
    assert "sex=F: only 2 scans with a lesion; its numbers are a hint at most" in said
    assert "False positives in healthy scans, ml, by sex" in (data / "out/index.html").read_text()


def test_all_columns_of_the_table_are_taken_and_empty_cells_are_unknown(run, data: Path):
    code, said = run(*words(data, "--subjects", data / "people.tsv"))
    assert code == 0, said
    assert {"auprc_subject[site=unknown]", "auprc_subject[sex=M]"} <= set(results(data))


@pytest.mark.parametrize(
    ("table", "by", "code", "message"),
    [
        ("subject\tsex\nsub-0\tF\n", "sex", 65,
         "no row for sub-1, sub-2, sub-3, sub-4, sub-5 and 1"),
        ("subject\tsex\nsub-0\tF\n", "sex,race", 2, "no column race among subject, sex"),
        ("subject\tsex\nsub-0\tF\nsub-0\tM\n", "sex", 65, "sub-0 occurs twice"),
        ("name\tsex\nsub-0\tF\n", "sex", 65, "no column 'subject' among name, sex"),
        ("subject\tsex\n", "sex", 65, "holds no rows under its header"),
        ("subject\tsex\nsub-0\tF\tx\n", "sex", 65, "more cells than its header"),
        ("subject\tage\n" + "".join(f"sub-{n}\told\n" for n in range(7)), "age", 65,
         "sub-0: the age is 'old'; give years"),
    ],
)  # fmt: skip
def test_tables_of_subjects_that_cannot_be_used(run, data, table, by, code, message):
    (data / "people.tsv").write_text(table)
    got, said = run(*words(data, "--subjects", data / "people.tsv", "--by", by))
    assert (got, message in said) == (code, True), said
    assert not (data / "out").exists()


def test_groups_need_a_table(run, data: Path):
    code, said = run(*words(data, "--by", "sex"))
    assert (code, "--by sex: needs a table of subjects" in said) == (2, True)
    (data / "people.txt").write_text("subject\n")
    code, said = run(*words(data, "--subjects", data / "people.txt"))
    assert (code, "not a table; give a .tsv or .csv file" in said) == (2, True)


# Comparisons


def other_method(data: Path, method: str = "other", shift: float = 0.3) -> None:
    """Maps of another method in ``maps``: better ones where the shift is larger."""
    for number in [*ILL, *WELL]:
        stem = data / "maps" / f"{name(number)}_T1w"
        anomaly = volume(number, kind=1) + shift * lesion(number)
        write_volume(f"{stem}_anomalymap.nii.gz", anomaly, like=like(name(number)))
        record = {
            "method": method,
            "subject": name(number),
            "threshold": {"rate": 0.01, "value": 0.9},
        }
        Path(f"{stem}_uad.json").write_text(json.dumps(record))


def test_differences_are_paired_and_corrected(run, data: Path):
    assert run(*words(data, out="made"))[0] == 0
    other_method(data, "worst", 0.0)
    assert run(*words(data, out="worst"))[0] == 0
    other_method(data)
    against = ["--against", data / "made", data / "worst"]
    code, said = run(*words(data, *against))
    assert code == 0, said
    found = rows(data / "out" / "differences.csv")
    line = next(r for r in found if r["metric"] == "auprc" and r["against"] == "made")
    each = [
        [float(r["auprc"]) for r in rows(data / o / "cases.csv") if r["kind"] == "lesion"]
        for o in ("out", "made")
    ]
    assert float(line["value"]) == pytest.approx(np.mean(each[0]) - np.mean(each[1]))
    assert (line["method"], line["n"], line["kind"]) == ("other", "4", "lesion")
    assert float(line["p"]) <= float(line["p_holm"]) <= 2 * float(line["p"]) + 1e-12
    assert {r["against"] for r in found} == {"made", "worst"}
    assert "auprc (lesion cases), other - made: -0." in said
    assert "other - worst" in (data / "out" / "index.html").read_text()


def test_results_that_cannot_be_compared_are_refused(run, data: Path):
    assert run(*words(data, out="made"))[0] == 0
    table = (data / "pairs.tsv").read_text().splitlines()
    (data / "pairs.tsv").write_text("\n".join([table[0], *table[3:]]) + "\n")
    code, said = run(*words(data, "--against", data / "made"))
    assert code == 65
    assert "only made (made) has sub-0 (lesion), sub-1 (lesion); evaluate both on the same" in said
    code, said = run(*words(data, "--against", data / "none"))
    assert (code, "cases.csv: no such file" in said) == (66, True)
    code, said = run(*words(data, "--protocol", "local", "--against", data / "made"))
    assert (code, "under protocol brainuad, this under local" in said) == (2, True)
    assert not (data / "out").exists()


# Restoration


def counterparts(data: Path, *, scans: bool = True) -> None:
    table = (data / "pairs.tsv").read_text().splitlines()
    lines = [f"{table[0]}\tscan"]
    for number, line in zip([*ILL, *WELL], table[1:], strict=True):
        scan = 100 * volume(number, kind=2) + 50
        healthy = scan + 5 * volume(number, kind=3)
        of = like(name(number))
        write_volume(data / "scans" / f"{name(number)}.nii.gz", scan, like=of, kind="image")
        path = data / "maps" / f"{name(number)}_T1w_healthy.nii.gz"
        write_volume(path, healthy, like=of, kind="image")
        lines.append(f"{line}\t" + (f"scans/{name(number)}.nii.gz" if scans else ""))
    (data / "pairs.tsv").write_text("\n".join(lines) + "\n")


def test_restoration_is_measured_in_normalised_units(run, data: Path):
    counterparts(data)
    code, said = run(*words(data))
    assert code == 0, said
    expected = []
    for number in WELL:
        scan = (100 * volume(number, kind=2) + 50).astype(np.float32)
        low, high = np.percentile(scan, (1, 99))
        healthy = scan + 5 * volume(number, kind=3)
        both = [np.clip((v - low) / (high - low), 0, 1) for v in (scan, healthy)]
        expected.append(restoration(both[0], both[1], np.ones(SHAPE, bool)))
    for n, metric in enumerate(("l1", "psnr", "ssim")):
        row = results(data)[f"restoration_{metric}"]
        assert float(row["value"]) == pytest.approx(np.mean([e[n] for e in expected]), rel=1e-4)
        assert row["n"] == "3"


def test_the_preparation_says_how_intensities_were_normalised(run, data: Path):
    counterparts(data)
    for path in (data / "maps").glob("*_uad.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "preparation": {"intensity": [0.0, 1000.0]}}))
    assert run(*words(data))[0] == 0
    each = [np.mean(5 * volume(n, kind=3)) / 1000 for n in WELL]
    found = float(results(data)["restoration_l1"]["value"])
    assert found == pytest.approx(np.mean(each), rel=1e-4)


def test_counterparts_without_their_scan_are_said(run, data: Path):
    counterparts(data, scans=False)
    code, said = run(*words(data))
    assert code == 0
    assert "restoration error: left out for sub-4, sub-5, sub-6, whose scans were not found" in said
    assert "restoration_l1" not in results(data)


def test_a_method_without_counterpart_has_no_restoration_error(run, data: Path):
    counterparts(data)
    for path in (data / "maps").glob("*_uad.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "healthy_counterpart": False}))
    code, said = run(*words(data))
    assert code == 0
    assert "restoration" not in said + " ".join(results(data))


# Bad input


MASK, ANOMALY = "truth/sub-0_T1w_lesion.nii.gz", "maps/sub-0_T1w_anomalymap.nii.gz"


def other_shape(data: Path) -> None:
    small = like("sub-0", shape=(12, 11, 9))
    write_volume(data / MASK, lesion(0)[..., :9], like=small, kind="mask")


def other_place(data: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 7
    write_volume(data / MASK, lesion(0), like=like("sub-0", moved), kind="mask")


def other_labels(data: Path) -> None:
    write_volume(data / MASK, 4.0 * lesion(0), like=like("sub-0"), kind="labels")


def not_a_number(data: Path) -> None:
    values = volume(0, kind=0)
    values[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(values, AFFINE), data / ANOMALY)


def negative(data: Path) -> None:
    write_volume(data / ANOMALY, volume(0, kind=0) - 0.5, like=like("sub-0"))


def without(path: str):
    return lambda data: (data / path).unlink()


def table_of(change):
    """Spoil the lines of the table of pairs; the first one is its header."""

    def spoil(data: Path) -> None:
        path = data / "pairs.tsv"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return spoil


def damaged_record(data: Path) -> None:
    (data / "maps/sub-0_T1w_uad.json").write_text("{")


def renamed(line: str, subject: str) -> str:
    return f"{line.rpartition(chr(9))[0]}\t{subject}"


subject_twice = table_of(lambda lines: [*lines[:2], renamed(lines[2], "sub-0"), *lines[3:]])
map_twice = table_of(lambda lines: [*lines, renamed(lines[1], "sub-x")])
no_rows = table_of(lambda lines: lines[:1])
no_name = table_of(lambda lines: [*lines, "\t\t"])
called_clean = table_of(lambda lines: [lines[0] + "\tkind", lines[1] + "\tclean"])


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (
            other_shape,
            65,
            "sub-0_T1w_lesion.nii.gz: the mask has shape (12, 11, 9), the scan (12, 11",
        ),
        (other_place, 65, "sub-0_T1w_lesion.nii.gz: the mask lies 7 mm away"),
        (other_labels, 65, "a mask holds only 0 and 1, this one has 27 other voxels, such as 4"),
        (not_a_number, 65, "sub-0_T1w_anomalymap.nii.gz: 1 of 1320 voxels are NaN"),
        (negative, 65, "sub-0: anomaly map: has values down to -0.5"),
        (
            without(ANOMALY),
            66,
            "sub-0_T1w_anomalymap.nii.gz: no such file; check the table of pairs",
        ),
        (without(MASK), 66, "sub-0_T1w_lesion.nii.gz: no such file; check the table of pairs"),
        (subject_twice, 65, "sub-0 (lesion): the subject occurs twice"),
        (map_twice, 65, "sub-0_T1w_anomalymap.nii.gz: the map occurs twice"),
        (no_rows, 65, "pairs.tsv: holds no rows under its header"),
        (no_name, 65, "pairs.tsv: a row names no map"),
        (called_clean, 65, "sub-0: called clean, but its lesion mask holds 27 voxels"),
        (damaged_record, 65, "sub-0_T1w_uad.json: damaged"),
    ],
)
def test_bad_input_is_an_error_that_names_it_and_leaves_nothing(run, data, spoil, code, message):
    spoil(data)
    got, said = run(*words(data))
    assert (got, message in said) == (code, True), said
    assert not (data / "out").exists()


def test_a_truth_without_a_map_is_named(run, data: Path):
    for number in WELL:
        for path in (data / "maps").glob(f"{name(number)}_*"):
            path.unlink()
    (data / "maps" / "sub-1_T1w_anomalymap.nii.gz").unlink()
    given = ["evaluate", "-i", data / "maps", "--truth", data / "truth", "-o", data / "out"]
    code, said = run(*given)
    assert code == 66
    assert "sub-1_T1w_lesion.nii.gz without a map; run detect on these scans too" in said
    (data / "truth" / "sub-1_T1w_lesion.nii.gz").unlink()
    assert run(*given)[0] == 0


def test_a_map_that_finds_nothing_is_judged(run, data: Path):
    nothing = np.zeros(SHAPE, np.float32)
    path = data / "maps" / "sub-0_T1w_anomalymap.nii.gz"
    write_volume(path, nothing, like=like("sub-0"))
    code, said = run(*words(data))
    assert code == 0, said
    case = next(r for r in rows(data / "out/cases.csv") if r["subject"] == "sub-0")
    assert float(case["auprc"]) == pytest.approx(lesion(0).mean())
    assert float(case["dice_at_fpr_0.01"]) == 0
    assert case["hd95_mm"] == "nan"
    assert int(float(results(data)["hd95_n_undefined"]["value"])) >= 1


def test_subjects_that_the_detector_has_seen_are_refused(run, data: Path):
    from brainuad.detector import Detector
    from brainuad.phantom import phantom

    affine = np.diag([5.0, 5, 5, 1])
    affine[:3, 3] = [-77.5, -115, -68.75]
    for role, who in (("healthy", "sub-2"), ("others", "sub-5")):
        scan = phantom(who, shape=(32, 40, 32), affine=affine)
        path = data / role / f"{who}_T1w.nii.gz"
        write_volume(path, scan.voxels, like=scan, kind="image", code=4)
    made = [
        "fit", "-i", data / "healthy", "-o", data / "detector", "--method", "intensity",
        "--preset", "dark", "--recipe", "phantom", "--calibrate", data / "others",
    ]  # fmt: skip
    assert run(*made)[0] == 0
    code, said = run(*words(data, "-m", data / "detector"))
    assert code == 65
    assert "sub-2, sub-5: in both training and test" in said
    code, said = run(*words(data, "-m", data / "detector", "--namesakes"))
    assert code == 0, said
    table = (data / "pairs.tsv").read_text().splitlines()
    kept = [line for line in table if "sub-2" not in line and "sub-5" not in line]
    (data / "pairs.tsv").write_text("\n".join(kept) + "\n")
    code, said = run(*words(data, "-m", data / "detector"))
    assert code == 0, said
    rates = {f"{r:g}" for r in Detector.load(data / "detector").calibration.thresholds}
    assert {f"dice_at_fpr_{r}" for r in rates} <= set(results(data))


def test_evaluation_twice_gives_the_same_files(run, data: Path):
    assert run(*words(data))[0] == 0
    shutil.move(data / "out", data / "first")
    assert run(*words(data))[0] == 0
    for file in ("results.csv", "cases.csv"):
        assert (data / "first" / file).read_bytes() == (data / "out" / file).read_bytes()
