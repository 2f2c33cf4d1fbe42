"""Each check passes, warns or rejects at the limits it states."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from brainuad.prepare.checks import Checks
from brainuad.prepare.grid import MNI_2MM
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
    return Work(scan=scan, original=replace(scan, affine=affine), placed=MNI_2MM.affine)


def template() -> np.ndarray:
    return template_brain(MNI_2MM.shape, MNI_2MM.affine).copy()


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
    given = work(template())
    values = template_values(MNI_2MM.shape, MNI_2MM.affine)
    share = values / values.max()
    values = np.asarray(given.scan.brain) * (1 - share if turned else share)
    scan = replace(given.scan, voxels=values.astype(np.float32), modality=modality)
    checks = outcome(replace(given, scan=scan), volume_ml=None)["checks"]
    assert checks.get("white_over_grey", {}).get("status") == status
    if status == "reject":
        with pytest.raises(DataError, match=r"does not look like T1w \(white is -0.* above grey"):
            Checks(volume_ml=None)(replace(given, scan=scan))


def test_brain_beyond_the_grid():
    brain = template()
    whole = work(brain)
    cut = brain.copy()
    cut[:, :, 60:] = False
    notes = outcome(replace(whole, scan=replace(whole.scan, brain=cut)), overlap=None)
    assert notes["checks"]["coverage"]["value"] == pytest.approx(cut.sum() / brain.sum())
    assert notes["status"] == "reject"


def test_strict_checks_reject_with_value_and_range():
    with pytest.raises(DataError, match="sub-09: volume ml is 188.*, expected 700 to 2200; check"):
        Checks(white_over_grey=None)(work(template(), 0.1))


def test_checks_can_be_left_out():
    none = {"volume_ml": None, "overlap": None, "noise": None, "movement": None, "edge_mm": None}
    notes = outcome(work(template(), 0.1), **none)
    assert set(notes["checks"]) == {"coverage"}
    assert notes["status"] == "pass"
