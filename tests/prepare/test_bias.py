"""N4: a known field is found, the same one each time, and the rest of the scan stays."""

from dataclasses import replace

import numpy as np
import pytest
from tests.prepare.heads import person

from brainuad.prepare.bias import Bias
from brainuad.prepare.brain import Brain
from brainuad.prepare.work import Work
from brainuad.types import UsageError


def shaded(strength=0.5):
    """A person under a field that grows from left to right, and the field."""
    scan, _ = person()
    along = np.linspace(-1, 1, scan.voxels.shape[0])[:, None, None]
    field = np.exp(strength * along) * np.ones(scan.voxels.shape)
    return replace(scan, voxels=(scan.voxels * field).astype(np.float32)), field


def test_a_known_field_is_found():
    scan, truth = shaded()
    work = Brain(how="background")(Work.start(scan))
    brain = work.scan.brain
    found = Bias().field(work)
    assert np.corrcoef(np.log(found[brain]), np.log(truth[brain]))[0, 1] > 0.85
    left = np.log(truth[brain] / found[brain]).std()
    assert left < 0.5 * np.log(truth[brain]).std()
    assert found[brain].mean() == pytest.approx(1, abs=1e-4)


def test_equal_input_gives_an_equal_scan_and_the_notes_say_how_strong_the_field_was():
    work = Brain(how="background")(Work.start(shaded()[0]))
    how = Bias(iterations=(20, 10))
    first, again = how(work), how(work)
    np.testing.assert_array_equal(first.scan.voxels, again.scan.voxels)
    low, high = first.notes["bias_field"]
    assert low < 0.9
    assert high > 1.1
    assert first.scan.brain is work.scan.brain


@pytest.mark.parametrize("wrong", [{"iterations": ()}, {"tolerance": 0.0}, {"shrink": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UsageError, match="bias: .*use numbers above 0"):
        Bias(**wrong)
