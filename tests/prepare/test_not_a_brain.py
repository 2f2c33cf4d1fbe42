"""What is no human brain of its modality is rejected with a reason, whatever its size and shape."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from tests.prepare.heads import grid, person, places

from brainuad.prepare import prepare_scan, recipe
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.intensity import Intensity
from brainuad.prepare.recipe import Recipe
from brainuad.prepare.register import Register
from brainuad.scan import Scan
from brainuad.types import DataError, MissingError

SHAPE = (64, 76, 66)
AFFINE = grid(SHAPE, (3, 3, 3), (0, 0, 0))
X, Y, Z = np.moveaxis(places(SHAPE, AFFINE), -1, 0)


def thing(inside: np.ndarray, values: np.ndarray | float = 100.0, noise: float = 5.0) -> Scan:
    draw = np.random.default_rng(0).standard_normal(SHAPE)
    voxels = np.where(inside, np.maximum(values + noise * draw, 1), 0).astype(np.float32)
    return Scan(voxels=voxels, affine=AFFINE, modality="T1w", subject="sub-x")


def jug() -> Scan:
    """A water phantom: a cylinder of one brightness."""
    return thing((X / 65) ** 2 + (Y / 75) ** 2 + np.where(np.abs(Z) < 60, 0, 2) < 1)


def gradient() -> Scan:
    """A ball that is bright on one side."""
    return thing((X / 68) ** 2 + (Y / 82) ** 2 + (Z / 62) ** 2 < 1, 100 + X)


def static() -> Scan:
    """Noise in the outline of a brain."""
    scan, _ = person()
    return thing(scan.voxels > 0, noise=60)


def mouse() -> Scan:
    """A brain of the right shape, far too small."""
    scan, _ = person()
    return replace(scan, affine=np.diag([0.2, 0.2, 0.2, 1]) @ scan.affine)


def fruit() -> Scan:
    """A melon: a dark rind, a bright inside, seeds."""
    away = (X / 66) ** 2 + (Y / 66) ** 2 + (Z / 66) ** 2
    seeds = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), 2) > 0.12
    return thing(away < 1, np.where(away > 0.8, 40, 100) - 60 * seeds)


def upside_down() -> Scan:
    """A brain whose header has front and back, top and bottom the wrong way round."""
    scan, _ = person()
    return replace(scan, voxels=np.ascontiguousarray(scan.voxels[:, ::-1, ::-1]))


def negative() -> Scan:
    """A brain of another contrast under the name of T1w."""
    return replace(person(modality="T2w")[0], modality="T1w")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (jug, "does not look like T1w|overlap is|noise is"),
        (gradient, "does not look like T1w|overlap is"),
        (static, "does not look like T1w|noise is"),
        (mouse, "volume ml is|registration failed"),
        (fruit, "does not look like T1w|overlap is|noise is"),
        (negative, "does not look like T1w"),
    ],
)
def test_it_is_rejected(made, reason):
    with pytest.raises(DataError, match=f"sub-.*({reason})"):
        prepare_scan(made(), recipe("default-t1"))


@pytest.mark.parametrize("tall", [20, 300])
def test_a_mask_says_that_it_is_one_whichever_step_stumbles_over_it(tall):
    """A small one cannot be registered, and one of a single value has no intensities."""
    mask = thing(np.abs(X) + np.abs(Y) + np.abs(Z) < tall, noise=0.0)
    with pytest.raises(
        DataError, match=r"sub-x: looks like a map of labels.*100 %.*; (give|check)"
    ):
        prepare_scan(mask, recipe("default-t1"))


def test_what_is_not_judged_by_its_labels_keeps_the_reason_of_the_step():
    steps = (Brain(how="background"), Intensity(), Checks(flat=None, overlap=None))
    with pytest.raises(DataError, match="sub-x: the brain has one intensity, 100"):
        prepare_scan(thing(np.abs(X) < 40, noise=0.0), Recipe(name="own", steps=steps))


def test_a_brain_that_lies_upside_down_is_rejected():
    with pytest.raises(DataError, match="sub-01: .*(does not look like T1w|overlap is)"):
        prepare_scan(upside_down(), recipe("default-t1"))


def test_a_template_that_is_not_there_is_said(tmp_path):
    steps = (Brain(), Register(template=str(tmp_path / "sri24.nii")))
    with pytest.raises(MissingError, match=r"template .*sri24.nii: no such file; give mni152 or"):
        prepare_scan(person()[0], Recipe(name="own", steps=steps))
