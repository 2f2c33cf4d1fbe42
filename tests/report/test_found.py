"""A page says of a finding what its record says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.made import full

from brainuad.detect import Finding
from brainuad.prepare import Prepared
from brainuad.report import found
from brainuad.scan import Scan

PREPARATION = {
    "subject": "sub-01",
    "modality": "T1w",
    "brain": "background",
    "input": {
        "path": "/scans/sub-01_T1w.nii.gz", "shape": [20, 24, 18], "orientation": "RAS",
        "spacing_mm": [2.0, 2.0, 2.0],
    },
    "recipe": {"name": "default-t1"},
    "recipe_hash": "0123",
    "checks": {
        "volume_ml": {"value": 650.0, "limits": [700.0, 2200.0], "status": "warn"},
        "novelty": {"value": 1.0, "limits": [0.0, 1.0], "status": "pass"},
    },
}  # fmt: skip
RECORD = {
    "detector": "mine", "method": "dae", "preset": "tiny", "seconds": 1.5,
    "threshold": {"value": 0.3, "rate": 0.01, "scans": 28, "cohort": "site 1"},
}  # fmt: skip


def finding(**changes: object) -> Finding:
    volumes = full()
    assert volumes.anomaly is not None
    scan = Scan(
        voxels=volumes.scan, affine=volumes.affine, modality="T1w", subject="sub-01",
        brain=volumes.brain,
    )  # fmt: skip
    made = Finding(
        scan=scan,
        prepared=Prepared(scan=scan, original=scan, placed=np.eye(4), report=PREPARATION),
        anomaly=volumes.anomaly,
        healthy=volumes.healthy,
        mask=volumes.mask,
        components=[{"index": 1, "volume_mm3": 900.0, "max": 0.9, "mean": 0.8, "centroid_x": 4.0}],
        score=0.7,
        percentile=96.0,
        record=RECORD,
    )
    return replace(made, **changes)


def test_page_tells_score_threshold_and_their_sources():
    page = found.finding_page(finding(), healthy_scores=[0.1, 0.2])
    assert (page.title, page.score, page.percentile) == ("sub-01_T1w.nii.gz", 0.7, 96.0)
    assert page.detector == "mine (dae, tiny)"
    assert page.volumes is not None
    assert page.volumes.threshold == 0.3
    assert page.threshold_source == (
        "1 % of healthy brain voxels lie above; 28 calibration scans (site 1)"
    )


def test_checks_are_put_in_words_with_what_is_plausible():
    page = found.finding_page(finding())
    first, second = page.checks
    assert (first.name, first.status) == ("brain volume, ml", "warn")
    assert first.note == "650 (plausible: 700 to 2200)"
    assert second.name == "novelty"


def test_a_warning_says_what_is_usual_and_is_a_note_too():
    fact = {"value": 0.68, "limits": [0.4, 1.0], "usual": [0.7, 1.0], "status": "warn"}
    changed = PREPARATION | {"checks": {"seen": fact, "noise": {**fact, "status": "pass"}}}
    warned, passed = found.checks(changed)
    assert warned.note == "0.68 (usual: 0.7 to 1; plausible: 0.4 to 1)"
    assert passed.note == "0.68 (plausible: 0.4 to 1)"
    said = [*found.remarks({"remarks": ["13 % of the brain is marked"]}, changed)]
    assert said == [
        "share of the template's brain in the field of view is 0.68 (usual: 0.7 to 1; plausible: "
        "0.4 to 1)",
        "13 % of the brain is marked",
    ]


def test_what_is_rejected_and_used_all_the_same_is_a_note():
    fact = {"value": 0.3, "limits": [0.4, 1.0], "usual": [0.7, 1.0], "status": "reject"}
    (said,) = found.remarks({}, {"checks": {"overlap": fact}})
    assert said.endswith("is 0.3 (usual: 0.7 to 1; plausible: 0.4 to 1)")


def test_what_was_forced_is_said():
    fact = {"value": 0.16, "limits": [-1.0, 0.08], "usual": [-1.0, 0.06], "status": "warn"}
    report = {"modality": "FLAIR", "named": "T1w", "checks": {"white_at_most": fact}}
    assert [*found.remarks({}, report)] == [
        "The scan is T1w by its name, and was forced to be taken for FLAIR",
        "looks like T1w (white is 0.16 above grey matter), and was forced",
    ]
    near = {**fact, "value": 0.07}
    (said,) = found.remarks({}, {"checks": {"white_at_most": near}})
    assert "is 0.07 (usual: -1 to 0.06" in said


def test_what_was_not_checked_is_said():
    unknown = {"modality": {"value": None, "limits": [], "status": "warn"}}
    changed = PREPARATION | {"checks": unknown, "checks_left_out": {"seen": "no register step"}}
    rows = [(c.name, c.status, c.note) for c in found.checks(changed)]
    assert rows == [
        ("modality", "warn", "unknown"),
        (
            "share of the template's brain in the field of view",
            "info",
            "left out: no register step",
        ),
    ]
    unchecked = {name: value for name, value in PREPARATION.items() if name != "checks"}
    (only,) = found.checks(unchecked)
    assert (only.status, only.note) == ("info", "not checked: no step of it checks")
    assert not list(found.checks({}))


def test_components_have_headings_for_people():
    (component,) = found.finding_page(finding()).components
    assert component == {
        "no.": 1, "volume, mm3": 900.0, "highest": 0.9, "mean": 0.8, "x, mm": 4.0,
    }  # fmt: skip


def test_facts_name_geometry_recipe_and_brain():
    facts = found.finding_page(finding()).facts
    assert facts["spacing, mm"] == [2.0, 2.0, 2.0]
    assert facts["recipe"] == "default-t1 (0123)"
    assert facts["brain mask"] == "background"
    grown = {"brain": "deepbet", "brain_margin_mm": 2.0}
    assert found.brain_words(grown) == "deepbet, grown by 2 mm"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "A healthy brain exceeds the threshold in about 1 %"),
        ({"healthy": None}, "there is no healthy counterpart"),
        ({"mask": None, "record": {"method": "dae"}}, "has not been calibrated"),
    ],
)
def test_notes_say_what_is_missing(changes: dict[str, object], words: str):
    notes = found.finding_page(finding(**changes)).notes
    assert any(words in note for note in notes)


def test_what_speaks_against_a_result_is_a_warning_and_no_note():
    changed = PREPARATION | {"named": "T1w", "modality": "FLAIR"}
    page = found.page_of({}, volumes=full(), preparation=changed, components=[])
    assert page.warnings == [*found.remarks({}, changed)]
    assert any("was forced to be taken for FLAIR" in warning for warning in page.warnings)
    assert not set(page.warnings) & set(page.notes)


def test_page_is_written(tmp_path: Path):
    found.write_page(tmp_path / "x.html", finding(), lesion=full().lesion)
    text = (tmp_path / "x.html").read_text()
    assert "sub-01_T1w.nii.gz" in text
    assert "truth" in text
