"""What goes from step to step is replaced, never changed."""

import numpy as np
from tests.prepare.heads import simple

from brainuad.prepare.work import Work


def test_work_starts_with_the_scan_as_it_is():
    scan = simple()
    work = Work.start(scan)
    assert work.scan is scan
    assert work.original is scan
    np.testing.assert_array_equal(work.placed, scan.affine)


def test_notes_add_up_and_the_past_stays():
    first = Work.start(simple()).note(brain="given")
    second = first.note(status="pass").with_scan(modality="FLAIR")
    assert dict(first.notes) == {"brain": "given"}
    assert dict(second.notes) == {"brain": "given", "status": "pass"}
    assert (first.scan.modality, second.scan.modality) == ("T1w", "FLAIR")
    assert second.original is first.original
