"""Where the brain mask comes from, and that nothing is guessed in silence."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.gate import MODALITIES
from brainuad.nifti import read_scan
from brainuad.prepare import brain as brain_step
from brainuad.prepare.brain import Brain, background, from_background, is_stripped
from brainuad.prepare.measure import dice
from brainuad.prepare.work import Work
from brainuad.types import DataError, UnavailableError, UsageError


def head(modality: str = "T1w"):
    """Noise everywhere: no constant surroundings."""
    scan = simple(brain=False)
    noise = np.random.default_rng(0).normal(50, 5, scan.voxels.shape).astype(np.float32)
    return replace(scan, voxels=scan.voxels + noise, modality=modality)


def run(scan, **options):
    return Brain(**options)(Work.start(scan))


@pytest.fixture(autouse=True)
def _forget_the_network():
    brain_step._deepbet.cache_clear()
    yield
    brain_step._deepbet.cache_clear()


class Network:
    """Stands in for deepbet: the bright middle is brain."""

    def __init__(self, no_gpu: bool):
        assert no_gpu

    def run_model(self, voxels: np.ndarray) -> np.ndarray:
        return (voxels > 100).astype(np.float32)

    def postprocess(self, mask: np.ndarray) -> np.ndarray:
        if not mask.any():
            raise ValueError("attempt to get argmax of an empty sequence")
        return mask


def install(monkeypatch, network):
    module = types.ModuleType("deepbet")
    module.BrainExtraction = network
    monkeypatch.setitem(sys.modules, "deepbet", module)


def test_the_brain_of_a_stripped_scan_is_what_differs_from_its_surroundings():
    truth = simple()
    work = run(simple(brain=False))
    np.testing.assert_array_equal(work.scan.brain, truth.brain)
    np.testing.assert_array_equal(work.original.brain, truth.brain)
    assert work.notes["brain"] == "background"


@pytest.mark.parametrize("value", [0.0, -1024.0, 17.0])
def test_the_background_may_have_any_value(value):
    scan = simple(brain=False)
    moved = replace(scan, voxels=np.where(scan.voxels == 0, value, scan.voxels).astype(np.float32))
    assert background(moved.voxels) == value
    np.testing.assert_array_equal(from_background(moved), simple().brain)


def test_holes_are_filled_and_crumbs_left_out():
    scan = simple(brain=False)
    voxels = scan.voxels.copy()
    voxels[18:22, 20:25, 18:22] = 0
    voxels[1, 1, 1] = 5
    np.testing.assert_array_equal(from_background(replace(scan, voxels=voxels)), simple().brain)


def test_a_head_is_not_taken_for_a_stripped_brain():
    scan = simple(brain=False)
    assert is_stripped(scan)
    assert not is_stripped(head())
    large = replace(scan, affine=np.diag([8.0, 8.0, 8.0, 1.0]))  # eight litres of "brain"
    assert not is_stripped(large)


@pytest.mark.parametrize("how", ["auto", "given", "background", "deepbet"])
def test_a_given_mask_is_always_used(how):
    scan = simple()
    mine = np.zeros_like(scan.brain)
    mine[10:20, 10:20, 10:20] = True
    work = run(replace(scan, brain=mine), how=how)
    assert work.notes["brain"] == "given"
    np.testing.assert_array_equal(work.scan.brain, mine)


def test_a_mask_that_was_promised_must_be_there():
    with pytest.raises(DataError, match="egg: the recipe asks for a brain mask; give one"):
        run(simple(brain=False), how="given")


def test_a_constant_scan_has_no_brain():
    scan = simple(brain=False)
    with pytest.raises(DataError, match="egg: no brain found by background"):
        run(replace(scan, voxels=np.zeros_like(scan.voxels)), how="background")


def test_a_whole_head_goes_to_the_network(monkeypatch):
    install(monkeypatch, Network)
    work = run(head())
    assert work.notes["brain"] == "deepbet"
    assert dice(work.scan.brain, simple().brain) > 0.9


@pytest.mark.parametrize(
    ("margin", "spacing", "added"),
    [
        (2.0, (2.0, 2.0, 2.0), 6),
        (2.0, (1.9999999, 2.0000002, 2.4), 6),  # whole voxels
        (2.0, (1.0, 1.0, 1.0), 32),  # a ball of radius 2
        (2.0, (1.0, 1.0, 5.0), 12),  # a disc: slices this thick are not grown along
        (2.0, (1.0, 5.0, 2.0), 6),
        (0.9, (2.0, 2.0, 2.0), 0),
    ],
)
def test_a_margin_adds_whole_voxels_around_the_brain(margin, spacing, added):
    brain = np.zeros((7, 7, 7), bool)
    brain[3, 3, 3] = True
    assert brain_step.grown(brain, margin, spacing).sum() == 1 + added


def test_a_margin_is_for_the_network_alone(monkeypatch):
    install(monkeypatch, Network)
    tight, loose = run(head()).scan.brain, run(head(), margin_mm=4.0)
    np.testing.assert_array_equal(loose.scan.brain, brain_step.grown(tight, 4.0, head().spacing))
    np.testing.assert_array_equal(loose.original.brain, loose.scan.brain)
    assert (loose.notes["brain"], loose.notes["brain_margin_mm"]) == ("deepbet", 4.0)
    for scan in (simple(), simple(brain=False)):
        np.testing.assert_array_equal(run(scan, margin_mm=4.0).scan.brain, run(scan).scan.brain)


@pytest.mark.parametrize("margin", [-1.0, 10.5, float("nan")])
def test_a_margin_that_cannot_be_is_said(margin):
    with pytest.raises(UsageError, match="margin_mm: must be within 0 and 10, got"):
        Brain(margin_mm=margin)


@pytest.mark.parametrize("how", ["given", "synthstrip", "ct"])
def test_a_margin_that_would_do_nothing_is_said(how):
    with pytest.raises(
        UsageError, match=f"is 2, but only what deepbet finds.*not a brain by {how}"
    ):
        Brain(how=how, margin_mm=2.0)


@pytest.mark.parametrize(
    "modality", ["unknown", *[m for m in MODALITIES if m not in ("T1w", "CT")]]
)
def test_the_network_is_not_asked_about_other_modalities(modality):
    with pytest.raises(DataError, match=f"whole-head scan of modality {modality}.*knows only T1w"):
        run(head(modality))


@pytest.mark.parametrize("error", [AssertionError("Not enough foreground"), ValueError("empty")])
def test_a_head_without_a_brain_is_said(monkeypatch, error):
    class Blind(Network):
        def run_model(self, voxels: np.ndarray) -> np.ndarray:
            raise error

    install(monkeypatch, Blind)
    with pytest.raises(DataError, match="egg: deepbet found no brain .*give a brain mask"):
        run(head())


def test_a_missing_network_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepbet", None)
    with pytest.raises(UnavailableError, match=r"pip install 'brainuad\[brain\]'"):
        run(head())


@pytest.mark.real
@pytest.mark.slow
def test_deepbet_finds_the_brain_of_a_real_head(shared_data):
    pytest.importorskip("deepbet")
    path = next((shared_data / "data" / "wholehead_t1_ixi_2mm").glob("*T1w.nii.gz"))
    labels = read_scan(str(path).replace("T1w.nii", "DLMUSE.nii")).voxels > 0
    assert dice(run(read_scan(path)).scan.brain, labels) > 0.97
