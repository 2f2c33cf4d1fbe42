"""The template is found without importing nilearn, and its brain is a brain."""

import importlib.util
import sys

import numpy as np
import pytest

from brainuad.prepare import template as module
from brainuad.prepare.grid import MNI_2MM
from brainuad.prepare.measure import brain_ml
from brainuad.prepare.template import template, template_brain, template_path
from brainuad.types import UnavailableError


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
