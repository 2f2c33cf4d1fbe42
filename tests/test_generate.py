"""Generated scans: what a sequence would see, in anatomy that is drawn anew for each."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.cli import main
from brainuad.fields import grown, smooth_field
from brainuad.generate import GenerateOptions, generate, tissue_map
from brainuad.nifti import read_scan, write_volume
from brainuad.rng import Rng
from brainuad.scan import Scan
from brainuad.tissues import CONTRASTS, NAMES, TISSUES, Sequence, draw_sequence, draw_tissue, signal
from brainuad.types import DataError, UsageError

STILL = GenerateOptions(
    turn_deg=0.0, stretch=0.0, bend_mm=0.0, ventricles=0.0, filled=0.0, caps=0.0, flow=0.0,
    bias=(0.0, 0.0), noise=(0.0, 0.0), blur_mm=(0.0, 0.0), thickness_mm=(2.0, 2.0), mask_error=0.0,
    margin_mm=6.0,
)  # fmt: skip
"""The labels' own anatomy, and no scanner."""


def head(*, size: int = 40, subject: str = "sub-1") -> Scan:
    """Shells of skin, bone, fluid, cortex and white matter about ventricles, left and right."""
    i, j, k = np.indices((size, size + 4, size - 4)).astype(float)
    middle = [(n - 1) / 2 for n in i.shape]
    depth = np.sqrt(((i - middle[0]) / 0.95) ** 2 + (j - middle[1]) ** 2 + (k - middle[2]) ** 2)
    right = i > middle[0]
    labels = np.zeros(i.shape)
    for radius, one in ((17, 511), (15.5, 515), (14.5, 24)):
        labels[depth < radius] = one
    for radius, left_label, right_label in ((13, 3, 42), (10, 2, 41), (4, 4, 43)):
        labels = np.where(depth < radius, np.where(right, right_label, left_label), labels)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-size, -size, -size]
    return Scan(
        voxels=labels.astype(np.float32), affine=affine, modality="unknown", subject=subject
    )


def made(options: GenerateOptions, *, seed: int = 0, labels: Scan | None = None) -> Scan:
    rng = Rng.named(seed, ["sub-x"])
    anatomy = tissue_map(labels or head(), margin_mm=options.margin_mm)
    return generate(anatomy, options=options, subject="sub-x", rng=rng)


def means(scan: Scan, labels: Scan) -> dict[int, float]:
    """Mean of a scan in the inner part of each label, of a scan that is not deformed."""
    anatomy = tissue_map(labels, margin_mm=STILL.margin_mm)
    start = np.rint(np.linalg.solve(labels.affine, anatomy.affine)[:3, 3]).astype(int)
    cut = tuple(slice(a, a + n) for a, n in zip(start, scan.voxels.shape, strict=True))
    values = labels.voxels[cut]
    inner: Any = {n: ndimage.binary_erosion(values == n) for n in (2, 41, 3, 42, 4, 43)}
    return {n: float(scan.voxels[where].mean()) for n, where in inner.items()}


# Tissues


def test_no_label_belongs_to_two_tissues():
    labels = [label for tissue in TISSUES.values() for label in tissue.labels]
    assert len(labels) == len(set(labels))


def test_signals_follow_the_equations():
    water = replace(TISSUES["fluid"], t1=1000.0, t2=100.0, pd=1.0)
    spin = signal(water, Sequence(contrast="T2w", tr=1000.0, te=100.0))
    assert spin == pytest.approx((1 - np.exp(-1)) * np.exp(-1))
    # At the Ernst angle a spoiled gradient echo gives the most.
    ernst = np.degrees(np.arccos(np.exp(-10 / 1000)))
    flips = [Sequence(contrast="T1w", tr=10.0, te=0.1, flip=ernst + d) for d in (-1.0, 0.0, 1.0)]
    below, at, above = (signal(water, each) for each in flips)
    assert at > max(below, above)
    nulled = Sequence(contrast="FLAIR", tr=9000.0, te=100.0, ti=1.0)
    assert signal(TISSUES["fluid"], nulled) == pytest.approx(0, abs=1e-12)


@given(seed=st.integers(0, 2**31))
def test_every_sequence_orders_the_tissues_as_it_should(seed):
    rng = Rng([seed])
    people = {name: draw_tissue(TISSUES[name], rng.fork(name)) for name in NAMES}
    found = {
        contrast: {n: signal(t, draw_sequence(contrast, rng.fork(contrast))) for n, t in
                   people.items()}
        for contrast in CONTRASTS
    }  # fmt: skip
    t1, t2, flair = (found[contrast] for contrast in ("T1w", "T2w", "FLAIR"))
    assert t1["fluid"] < t1["cortex"] < t1["white"]
    assert t2["fluid"] > t2["cortex"] > t2["white"]
    assert flair["fluid"] < 0.5 * flair["white"]
    assert t2["pallidum"] < t2["putamen"] < t2["fluid"]
    assert all(0 <= level <= 1 for levels in found.values() for level in levels.values())


def test_cortex_is_brighter_than_white_matter_in_flair_of_nearly_everybody():
    ratios = []
    for n in range(200):
        rng = Rng.named(n, ["someone"])
        sequence = draw_sequence("FLAIR", rng.fork("sequence"))
        levels = [
            signal(draw_tissue(TISSUES[t], rng.fork(t)), sequence) for t in ("cortex", "white")
        ]
        ratios.append(levels[0] / levels[1])
    assert np.mean(np.array(ratios) > 1) > 0.95
    assert 1.05 < np.median(ratios) < 1.4


# Fields


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 4.0)])
def test_a_mask_grows_by_millimetres(spacing):
    mask = torch.zeros(21, 21, 21, dtype=torch.bool)
    mask[10, 10, 10] = True
    where = grown(mask, 4.0, spacing).nonzero()
    reach = where.max(0).values - 10
    assert reach.tolist() == [round(4 / s) for s in spacing]
    assert len(where) == int(np.prod([2 * round(4 / s) + 1 for s in spacing]))


def test_a_field_is_smooth_over_its_cells_and_differs_between_streams():
    rough, smooth = (smooth_field((40, 40, 40), (c, c, c), Rng([0])) for c in (3.0, 12.0))
    steps = [float(field.diff(dim=0).std() / field.std()) for field in (rough, smooth)]
    assert steps[1] < 0.5 * steps[0]
    assert not torch.equal(smooth, smooth_field((40, 40, 40), (12.0, 12.0, 12.0), Rng([1])))


# Scans


def test_the_same_stream_gives_the_same_scan_and_another_one_another():
    torch.manual_seed(1)
    first = made(GenerateOptions())
    torch.manual_seed(2)
    again, other = made(GenerateOptions()), made(GenerateOptions(), seed=1)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(first.brain, again.brain)
    assert first.voxels.shape != other.voxels.shape or (first.voxels != other.voxels).any()


def test_no_global_stream_is_touched():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    made(GenerateOptions())
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_left_and_right_have_the_same_levels_and_tissues_their_order(contrast):
    labels = head()
    found = means(made(replace(STILL, contrast=contrast), labels=labels), labels)
    for left, right in ((2, 41), (3, 42)):
        assert found[left] == pytest.approx(found[right], rel=0.05)
    white, cortex, fluid = found[2], found[3], found[4]
    assert {
        "T1w": fluid < cortex < white,
        "T2w": white < cortex < fluid,
        "FLAIR": fluid < 0.5 * white < cortex,
    }[contrast]


@pytest.mark.parametrize("seed", range(4))
def test_the_brain_holds_brain_and_ventricles_and_no_bone(seed):
    labels = head()
    scan = made(STILL, seed=seed, labels=labels)
    brain = np.isin(labels.voxels, (2, 41, 3, 42, 4, 43))
    bone = np.isin(labels.voxels, (0, 511, 515))
    anatomy = tissue_map(labels, margin_mm=STILL.margin_mm)
    start = np.rint(np.linalg.solve(labels.affine, anatomy.affine)[:3, 3]).astype(int)
    cut = tuple(slice(a, a + n) for a, n in zip(start, scan.voxels.shape, strict=True))
    assert scan.brain is not None
    assert scan.brain[brain[cut]].all()
    assert not scan.brain[bone[cut]].any()


def test_a_mask_is_off_as_far_as_it_shall_be():
    right, off = made(STILL), made(replace(STILL, mask_error=0.15))
    assert right.brain is not None
    assert off.brain is not None
    wrong = (right.brain != off.brain).sum() / right.brain.sum()
    assert 0.001 < wrong < 0.3


def test_slices_are_as_thick_as_drawn_and_the_head_stays_in_its_place():
    labels = head()
    for seed in range(5):
        options = replace(STILL, contrast="T2w", thickness_mm=(5.0, 5.0))
        scan = made(options, seed=seed, labels=labels)
        across = int(np.argmax(scan.spacing))
        assert scan.spacing[across] == pytest.approx(5, rel=0.1)
        assert np.delete(scan.spacing, across) == pytest.approx(2)
        assert scan.brain is not None
        middle = scan.affine[:3, :3] @ ndimage.center_of_mass(scan.brain) + scan.affine[:3, 3]
        truth = np.isin(labels.voxels, (2, 41, 3, 42, 4, 43))
        wanted = labels.affine[:3, :3] @ ndimage.center_of_mass(truth) + labels.affine[:3, 3]
        assert middle == pytest.approx(wanted, abs=1.0)


def test_ventricles_vary_in_size():
    options = replace(STILL, contrast="T2w", ventricles=0.4)
    sizes = []
    for seed in range(8):
        scan = made(options, seed=seed)
        levels = scan.voxels / np.median(scan.voxels[scan.brain])
        middle = tuple(n // 4 for n in scan.voxels.shape)
        inner = levels[tuple(slice(m, -m) for m in middle)]
        sizes.append(np.count_nonzero(inner > 1.8) * np.prod(scan.spacing))
    assert max(sizes) > 1.4 * min(sizes)


def test_a_brain_without_ventricles_is_painted_too():
    labels = with_labels(lambda v: np.where(np.isin(v, (4, 43)), 2, v))
    scan = made(GenerateOptions(ventricles=0.4), labels=labels)
    assert scan.voxels.max() > 0


def test_noise_is_that_asked_for():
    labels = head()
    quiet = made(STILL, labels=labels)
    noisy = made(replace(STILL, noise=(0.2, 0.2)), labels=labels)
    white = means(quiet, labels)[2]
    difference = (noisy.voxels - quiet.voxels)[quiet.voxels > 0.5 * white]
    assert difference.std() == pytest.approx(0.2 * white, rel=0.15)


def test_air_fills_the_margin_where_a_label_map_ends():
    labels = head()
    inner = labels.voxels[7:33]
    affine = labels.affine.copy()
    affine[0, 3] += 7 * 2.0
    cut = tissue_map(replace(labels, voxels=inner, affine=affine), margin_mm=6)
    whole = tissue_map(labels, margin_mm=6)
    assert cut.tissue.shape == whole.tissue.shape
    assert np.array_equal(cut.affine, whole.affine)
    same = cut.tissue == whole.tissue
    assert (cut.tissue[~same] == NAMES.index("air")).all()
    assert same[3:-3].all()


# Errors


def with_labels(change) -> Scan:
    labels = head()
    return replace(labels, voxels=change(labels.voxels))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: v + np.float32(0.5), r"sub-1: 0\.5 is no label; give a segmentation"),
        (lambda v: np.where(v == 2, 9999, v), r"1 unknown labels \(9999\); give FreeSurfer"),
        (lambda v: np.where(v == 2, -3, v), r"1 unknown labels \(-3\)"),
        (lambda v: np.where(v < 500, 0, v), r"0 voxels of brain; give a label map"),
    ],
)
def test_what_is_no_label_map_is_refused(change, match):
    with pytest.raises(DataError, match=match):
        tissue_map(with_labels(lambda v: change(v).astype(np.float32)))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"contrast": "PD"}, "unknown contrast 'PD'; choose from FLAIR, T2w, T1w"),
        ({"noise": (0.2, 0.1)}, "noise .* rising"),
        ({"bend_mm": -1.0}, "bend_mm -1.0"),
        ({"thickness_mm": (0.0, 2.0)}, "thickness_mm .* more than 0"),
    ],
)
def test_options_that_cannot_be_are_refused(bad, match):
    with pytest.raises(UsageError, match=match):
        GenerateOptions(**bad)


def test_a_scan_has_one_stream():
    with pytest.raises(UsageError, match="2 random streams; give one"):
        generate(tissue_map(head()), options=STILL, subject="sub-x", rng=Rng([1, 2]))


# The command


def run(*words: object) -> int:
    with pytest.raises(SystemExit, match=r"\d+") as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


@pytest.fixture
def maps(tmp_path):
    for n in (1, 2):
        labels = head(size=38 + 2 * n, subject=f"seg{n}")
        write_volume(
            tmp_path / "maps" / f"seg{n}.nii.gz", labels.voxels, like=labels, kind="labels"
        )
    return tmp_path / "maps"


def test_the_command_writes_scans_masks_and_a_table(maps, tmp_path):
    out = tmp_path / "out"
    assert run("generate", "-i", maps, "-o", out, "-n", 3, "--modality", "T2w", "--first", 5) == 0
    rows = [line.split("\t") for line in (out / "scans.tsv").read_text().splitlines()]
    assert rows[0] == ["path", "brain", "subject"]
    assert [row[2] for row in rows[1:]] == ["sub-syn005", "sub-syn006", "sub-syn007"]
    for path, brain, subject in rows[1:]:
        scan = read_scan(out / path, brain=out / brain)
        assert (scan.modality, scan.subject) == ("T2w", subject)
    # A scan depends on its number and not on which others are made.
    alone = tmp_path / "alone"
    assert run("generate", "-i", maps / "seg1.nii.gz", "-o", alone, "-n", 1, "--first", 6) == 0
    assert not (alone / "sub-syn005_FLAIR.nii.gz").exists()


def test_a_cohort_that_is_continued_keeps_its_scans_in_the_table(maps, tmp_path):
    for first in (0, 2, 1):  # the last makes two anew
        assert run("generate", "-i", maps, "-o", tmp_path / "o", "-n", 2, "--first", first) == 0
    rows = (tmp_path / "o" / "scans.tsv").read_text().splitlines()
    assert [row.split("\t")[2] for row in rows[1:]] == [f"sub-syn00{n}" for n in range(4)]


def test_generated_scans_fit_a_detector(maps, tmp_path):
    out = tmp_path / "out"
    assert run("generate", "-i", maps, "-o", out, "-n", 2) == 0
    steps = "".join(f"- step: {step}\n" for step in ("brain", "resample", "intensity"))
    (tmp_path / "r.yaml").write_text(f"name: r\nsteps:\n{steps}")
    words = ["-i", out / "scans.tsv", "-o", tmp_path / "d", "--method", "intensity"]
    assert run("fit", *words, "--modality", "FLAIR", "--recipe", tmp_path / "r.yaml") == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-i", "{maps}", "--modality", "PD"], 2, "unknown contrast 'PD'"),
        (["-i", "{empty}"], 65, "is empty; give a folder with label maps"),
        (["-i", "{image}"], 65, "is no label; give a segmentation, not an image"),
        (["-i", "{missing}"], 66, "missing"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(words, code, said, maps, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    image = replace(head(), voxels=head().voxels / 7)
    write_volume(tmp_path / "image.nii.gz", image.voxels, like=image, kind="image")
    names = {name: tmp_path / name for name in ("maps", "empty", "missing")}
    given = [w.format(**names, image=tmp_path / "image.nii.gz") for w in words]
    assert run("generate", *given, "-o", tmp_path / "out", "-n", 1) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.real
@pytest.mark.slow
def test_real_label_maps_become_heads_of_people(shared_data):
    paths = sorted((shared_data / "data" / "synthseg_labels_1mm").glob("*.nii.gz"))
    assert paths
    for path in (paths[0], paths[-1]):
        scan = made(GenerateOptions(), labels=read_scan(path))
        assert scan.brain is not None
        litres = scan.brain.sum() * np.prod(scan.spacing) / 1e6
        assert 0.9 < litres < 2.0
        assert np.median(scan.voxels[scan.brain]) > 3 * np.median(scan.voxels[~scan.brain])
