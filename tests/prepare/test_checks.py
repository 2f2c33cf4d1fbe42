"""Each check passes, warns or rejects at the limits it states."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from brainuad.prepare.checks import Checks, doubts
from brainuad.prepare.grid import MNI_2MM
from brainuad.prepare.register import Register
from brainuad.prepare.template import template_brain, template_values
from brainuad.prepare.work import Work
from brainuad.scan import Scan
from brainuad.types import DataError


def work(brain: np.ndarray, volume: float = 1.0) -> Work:
    """A registered scan with this brain; its original is ``volume`` times as large."""
    affine = np.diag([2 * np.cbrt(volume)] * 3 + [1.0])
    scan = Scan(
        voxels=brain.astype(np.float32),
        affine=MNI_2MM.affine,
        modality="T1w",
        subject="sub-09",
        brain=brain,
    )
    moved = replace(scan, affine=affine)
    return Work(scan=scan, original=moved, placed=MNI_2MM.affine).note(template="mni152")


def template() -> np.ndarray:
    return template_brain(MNI_2MM.shape, MNI_2MM.affine).copy()


def painted(values: np.ndarray, modality: str) -> Work:
    """A registered scan whose brain has these values."""
    given = work(template())
    voxels = (np.asarray(given.scan.brain) * values).astype(np.float32)
    return replace(given, scan=replace(given.scan, voxels=voxels, modality=modality))


def tissue() -> np.ndarray:
    """The template, from 0 to 1."""
    values = template_values(MNI_2MM.shape, MNI_2MM.affine)
    return values / values.max()


def outcome(given: Work, **options) -> Mapping[str, Any]:
    return Checks(strict=False, **options)(given).notes


@pytest.mark.parametrize(
    ("times", "status"),
    [(0.35, "reject"), (0.4, "warn"), (0.75, "pass"), (1.1, "warn"), (1.3, "reject")],
)
def test_volume_of_the_brain(times, status):
    found = outcome(work(template(), times))["checks"]["volume_ml"]
    assert found["value"] == pytest.approx(template().sum() * 8e-3 * times)
    assert found["status"] == status


@pytest.mark.parametrize(("slices", "status"), [(0, "pass"), (17, "warn"), (30, "reject")])
def test_overlap_with_the_template(slices, status):
    brain = template()
    brain[:, : 11 + slices] = False
    found = outcome(work(brain, 1), volume_ml=None)["checks"]["overlap"]
    assert found["status"] == status


@pytest.mark.parametrize(("slices", "status"), [(80, "pass"), (40, "warn"), (28, "reject")])
def test_a_slab_is_compared_where_it_was_seen(slices, status):
    brain = template()
    brain[:, :, slices:] = False
    given = work(brain)
    slab = replace(
        given.original, voxels=np.zeros((80, 96, slices), np.float32), brain=brain[:, :, :slices]
    )
    checks = outcome(replace(given, original=slab), volume_ml=None)["checks"]
    assert checks["overlap"]["value"] == pytest.approx(1)
    assert checks["seen"]["value"] == pytest.approx(brain.sum() / template().sum())
    assert checks["seen"]["status"] == status


@pytest.mark.parametrize(
    ("turned", "modality", "status"),
    [(False, "T1w", "pass"), (True, "T1w", "reject"), (True, "T2w", None)],
)
def test_what_is_called_t1w_must_look_like_it(turned, modality, status):
    given = painted(1 - tissue() if turned else tissue(), modality)
    checks = outcome(given, volume_ml=None)["checks"]
    assert checks.get("white_over_grey", {}).get("status") == status
    if status == "reject":
        with pytest.raises(DataError, match=r"does not look like T1w \(white is -0.* above grey"):
            Checks(volume_ml=None, flat=None)(given)


@pytest.mark.parametrize(
    ("share", "modality", "status"),
    [
        (1.0, "FLAIR", "reject"),
        (1.0, "T2w", "reject"),
        (-1.0, "FLAIR", "pass"),
        (0.2, "FLAIR", "pass"),
        (1.0, "T1w", None),
        (1.0, "CT", None),
    ],
)
def test_a_t1w_scan_does_not_pass_for_flair_or_t2w(share, modality, status):
    """White matter as bright above grey as in the template, as dark below it, or a fifth of it."""
    given = painted(0.5 + share * (tissue() - 0.5), modality)
    checks = outcome(given, volume_ml=None)["checks"]
    assert checks.get("white_at_most", {}).get("status") == status
    if status == "reject":
        with pytest.raises(DataError, match=r"looks like T1w \(white is 0.* above grey matter\)"):
            Checks(volume_ml=None, flat=None)(given)
        forced = Checks(volume_ml=None, flat=None, contrast=False)(given)
        assert forced.notes["checks"]["white_at_most"]["status"] == "warn"
        with pytest.raises(DataError, match="volume ml is 188"):  # other checks stand
            Checks(flat=None, contrast=False)(work(template(), 0.1))


def test_brain_beyond_the_grid():
    brain = template()
    whole = work(brain)
    cut = brain.copy()
    cut[:, :, 60:] = False
    changed = replace(whole, scan=replace(whole.scan, brain=cut))
    notes = outcome(changed, overlap=None, flat=None)
    assert notes["checks"]["coverage"]["value"] == pytest.approx(cut.sum() / brain.sum())
    assert notes["status"] == "reject"


def test_strict_checks_reject_with_value_and_range():
    with pytest.raises(DataError, match="sub-09: volume ml is 188.*, expected 700 to 2200; check"):
        Checks(white_over_grey=None, flat=None)(work(template(), 0.1))


def test_checks_can_be_left_out():
    numbers = ("volume_ml", "overlap", "noise", "movement", "flat", "edge_mm")
    none = dict.fromkeys(numbers)
    notes = outcome(work(template(), 0.1), **none)
    assert set(notes["checks"]) == {"coverage"}
    assert notes["status"] == "pass"


@pytest.mark.parametrize("count", [1, 4, 30, 140])
def test_a_map_of_labels_is_no_scan_however_many_labels_it_has(count):
    """Labels are areas: the nearest of some seeds, as in any segmentation."""
    draw = np.random.default_rng(0)
    brain = template()
    seeds = np.argwhere(brain)[draw.choice(int(brain.sum()), count, replace=False)]
    _, nearest = cKDTree(seeds).query(np.argwhere(brain))
    labels = np.zeros(brain.shape, np.float32)
    labels[brain] = 1 + nearest
    given = work(brain)
    original = replace(given.original, voxels=labels)
    with pytest.raises(DataError, match=r"looks like a map of labels, not like a scan \(\d+ % of"):
        Checks(volume_ml=None, overlap=None)(replace(given, original=original))


def test_a_scan_with_the_few_values_of_a_label_map_passes():
    """Not the number of values tells the two apart, but where equal ones lie."""
    given = work(template())
    values = template_values(MNI_2MM.shape, MNI_2MM.affine)
    noisy = values / values.max() * 90 + np.random.default_rng(0).normal(0, 4, values.shape)
    original = replace(given.original, voxels=np.round(noisy).astype(np.float32))
    notes = outcome(replace(given, original=original), overlap=None, noise=None)
    assert np.unique(original.voxels[template()]).size < 140
    assert notes["checks"]["flat"]["status"] == "pass"


@pytest.mark.parametrize(("modality", "status"), [("T1w", "pass"), ("unknown", "warn")])
def test_an_unknown_modality_is_a_warning(modality, status):
    given = work(template())
    given = replace(given, scan=replace(given.scan, modality=modality))
    notes = outcome(given, flat=None, overlap=None)
    assert notes["status"] == status
    assert doubts(notes["checks"]) == ("modality unknown" if status == "warn" else "")
    assert outcome(given, flat=None, overlap=None, modality=False)["status"] == "pass"


def test_without_registration_the_template_is_not_compared_with():
    given = replace(work(template()), notes={})
    notes = outcome(given, flat=None)
    compared = {"overlap", "seen", "white_over_grey", "white_at_most"}
    assert set(notes["checks_left_out"]) == compared
    assert "no register step" in notes["checks_left_out"]["overlap"]
    assert not set(notes["checks"]) & compared
    assert "checks_left_out" not in outcome(given, flat=None, overlap=None)


def test_a_register_step_that_leaves_the_scan_where_it_is_answers_for_its_place():
    given = Register(kind="none")(replace(work(template()), notes={}))
    assert outcome(given)["checks"]["overlap"]["value"] == pytest.approx(1)


@pytest.mark.parametrize("name", Checks().limits())
def test_the_limits_of_every_check_are_where_it_warns_and_rejects(name):
    limits = Checks().limits()[name]
    (low, high), (lowest, highest) = limits.warn, limits.reject
    assert lowest <= low < high <= highest
    for value in (low, low + 1e-3 * min(high - low, 1), high):
        assert limits.status(value) == "pass"
    beyond = [lowest - 1e-9, *([highest + 1e-9] if highest < np.inf else [])]
    assert {limits.status(value) for value in beyond} == {"reject"}
    doubtful = [(a + b) / 2 for a, b in ((lowest, low), (high, highest)) if a < b]
    assert doubtful
    assert [limits.status(value) for value in doubtful] == ["warn"] * len(doubtful)
