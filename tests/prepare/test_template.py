"""The template is found without importing nilearn, and its brain is a brain."""

import importlib.util
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import person

from brainuad.nifti import write_volume
from brainuad.prepare import prepare_scan
from brainuad.prepare import template as module
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks
from brainuad.prepare.grid import MNI_2MM
from brainuad.prepare.measure import brain_ml
from brainuad.prepare.recipe import Recipe
from brainuad.prepare.register import Register
from brainuad.prepare.template import content, template, template_brain, template_path
from brainuad.types import DataError, MissingError, UnavailableError


def test_it_is_found_without_importing_nilearn():
    assert template_path().is_file()
    assert "nilearn" not in sys.modules


def test_its_brain_has_a_plausible_size_and_no_rest():
    whole = template()
    assert 1700 < brain_ml(whole) < 2100
    assert not whole.voxels[~whole.brain].any()
    assert template() is whole


def test_it_is_symmetric():
    brain = template_brain(MNI_2MM.shape, MNI_2MM.affine)
    assert (brain != brain[::-1]).sum() < 0.02 * brain.sum()
    assert brain.dtype == np.bool_


@pytest.mark.parametrize("installed", [False, True])
def test_a_missing_template_is_said(monkeypatch, tmp_path, installed):
    spec = importlib.util.spec_from_loader("nilearn", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(module, "find_spec", lambda _: spec if installed else None)
    with pytest.raises(UnavailableError, match="MNI152 template: not found.*pip install nilearn"):
        template_path()


@pytest.fixture
def own(tmp_path) -> str:
    """A template of one's own: that of MNI152 at 3 mm, moved by (10, 20, 30) mm."""
    scan, to_mni = person()
    affine = to_mni @ scan.affine
    affine[:3, 3] += (10, 20, 30)
    path = tmp_path / "own_T1w.nii.gz"
    write_volume(path, scan.voxels, like=replace(scan, affine=affine), kind="image")
    return str(path)


def test_scans_go_to_a_template_of_ones_own(own):
    scan, to_mni = person((5, 0, 0), 0.95)
    steps = (Brain(), Register(template=own), Checks(strict=False))
    prepared = prepare_scan(scan, Recipe(name="own", steps=steps))
    shift = np.array(prepared.report["matrix"]) @ np.linalg.inv(to_mni)
    np.testing.assert_allclose((shift @ [0, -18, 4, 1])[:3], [10, 2, 34], atol=1)
    assert prepared.report["template"] == own
    assert prepared.report["checks"]["overlap"]["value"] > 0.93
    assert prepared.report["checks"]["white_over_grey"]["status"] == "pass"


def test_the_hash_is_that_of_the_file_and_not_of_its_place(own, tmp_path):
    def hash_with(name: str) -> str:
        return Recipe(name="own", steps=(Register(template=name),)).hash

    elsewhere = tmp_path / "copy.nii.gz"
    shutil.copy(own, elsewhere)
    before = hash_with(own)
    assert before == hash_with(str(elsewhere)) != hash_with("mni152")
    elsewhere.write_bytes(template_path().read_bytes())
    assert hash_with(str(elsewhere)) != before


def test_templates_that_are_none(tmp_path):
    missing = str(tmp_path / "sri24.nii.gz")
    for ask in (template, content):
        with pytest.raises(MissingError, match=f"template {missing}: no such file; give mni152"):
            ask(missing)
    head = np.random.default_rng(0).random((20, 20, 20), np.float32)
    scan = replace(person()[0], voxels=head, affine=np.diag([9.0, 9, 9, 1]))
    write_volume(missing, head, like=scan, kind="image")
    with pytest.raises(DataError, match=r"sri24.nii.gz: is no brain .* strip it first"):
        template(missing)
