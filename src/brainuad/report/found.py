"""The page of a scan, from what a detector found in it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from brainuad.detect import Finding
from brainuad.prepare.checks import CONTRAST, words
from brainuad.report.pages import Check, ScanPage, scan_report
from brainuad.report.planes import Volumes
from brainuad.types import Mask

CHECKS = {
    "volume_ml": "brain volume, ml",
    "overlap": "overlap with the template's brain (Dice)",
    "white_over_grey": "white above grey matter, share of the range",
    "white_at_most": "white above grey matter, share of the range (T1w or not)",
    "seen": "share of the template's brain in the field of view",
    "noise": "noise, share of the range",
    "movement": "strongest line of the spectrum against its neighbours",
    "flat": "share of neighbouring voxels that are equal",
    "edge_mm": "longest edge of a voxel, mm",
    "coverage": "share of the brain on the detector's grid",
}
FACTS = {
    "path": "file",
    "shape": "shape",
    "orientation": "orientation",
    "spacing_mm": "spacing, mm",
}


def finding_page(
    finding: Finding, *, healthy_scores: Iterable[float] = (), lesion: Mask | None = None
) -> ScanPage:
    """What the page of a scan says.

    Args:
        finding: what was found.
        healthy_scores: scan scores of the calibration scans.
        lesion: the truth on the scan's grid, where it is known.
    """
    threshold = finding.record.get("threshold") or {}
    volumes = Volumes(
        scan=finding.scan.voxels,
        affine=finding.scan.affine,
        healthy=finding.healthy,
        anomaly=finding.anomaly,
        mask=finding.mask,
        lesion=lesion,
        brain=finding.scan.brain,
        threshold=threshold.get("value"),
    )
    return page_of(
        {**finding.record, "score": finding.score, "healthy_percentile": finding.percentile},
        volumes=volumes,
        preparation=finding.prepared.report,
        components=finding.components,
        healthy_scores=tuple(healthy_scores),
    )


def page_of(
    record: Mapping[str, Any],
    *,
    volumes: Volumes,
    preparation: Mapping[str, Any],
    components: Iterable[Mapping[str, Any]],
    healthy_scores: tuple[float, ...] = (),
) -> ScanPage:
    """The same from plain data: a record as in ``X_uad.json`` and the preparation's report."""
    source = preparation.get("input", {})
    return ScanPage(
        title=Path(source.get("path") or preparation.get("subject", "scan")).name,
        detector=f"{record.get('detector')} ({record.get('method')}, {record.get('preset')})",
        volumes=volumes,
        score=record.get("score"),
        percentile=record.get("healthy_percentile"),
        healthy_scores=healthy_scores,
        threshold_source=source_words(record.get("threshold") or {}),
        components=[component_words(row) for row in components],
        checks=list(checks(preparation)),
        facts=facts(preparation, record),
        manifest={**record, "preparation": preparation},
        warnings=list(remarks(record, preparation)),
        notes=list(notes(record, volumes)),
    )


def source_words(threshold: Mapping[str, Any]) -> str:
    """Where a threshold comes from, for people."""
    if not threshold:
        return ""
    cohort = f" ({threshold['cohort']})" if threshold.get("cohort") else ""
    share = f"{100 * threshold['rate']:g} % of healthy brain voxels lie above"
    return f"{share}; {threshold['scans']} calibration scans{cohort}"


def component_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the component table with headings for people."""
    words = {"index": "no.", "volume_mm3": "volume, mm3", "max": "highest", "mean": "mean"}
    words |= {f"centroid_{axis}": f"{axis}, mm" for axis in "xyz"}
    return {words[name]: value for name, value in row.items() if name in words}


def checks(preparation: Mapping[str, Any]) -> Iterable[Check]:
    """The outcome of every check of the preparation, and which of them say nothing here."""
    for name, found in preparation.get("checks", {}).items():
        note = "unknown"
        if found["value"] is not None:
            note = measured(found)
        yield Check(name=str(CHECKS.get(name, name)), status=found["status"], note=note)
    for name, why in preparation.get("checks_left_out", {}).items():
        yield Check(name=str(CHECKS.get(name, name)), status="info", note=f"left out: {why}")
    if preparation and "checks" not in preparation:
        yield Check(name="preparation", status="info", note="not checked: no step of it checks")


def measured(found: Mapping[str, Any]) -> str:
    """A number with where it is usual, unless it passes, and where it is plausible."""
    names = ["usual", "limits"] if found["status"] != "pass" and "usual" in found else ["limits"]
    words = {"usual": "usual", "limits": "plausible"}
    spans = "; ".join(f"{words[n]}: {found[n][0]:g} to {found[n][1]:g}" for n in names)
    return f"{found['value']:.4g} ({spans})"


def facts(preparation: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Geometry, recipe and time."""
    source = preparation.get("input", {})
    known = {words: source[name] for name, words in FACTS.items() if source.get(name) is not None}
    recipe = preparation.get("recipe", {}).get("name", "?")
    return {
        **known,
        "modality": preparation.get("modality", "?"),
        "brain mask": brain_words(preparation),
        "recipe": f"{recipe} ({preparation.get('recipe_hash', '?')})",
        "seconds": record.get("seconds", "?"),
    }


def brain_words(preparation: Mapping[str, Any]) -> str:
    """Where the brain mask comes from."""
    margin = preparation.get("brain_margin_mm")
    return f"{preparation.get('brain', '?')}{f', grown by {margin:g} mm' if margin else ''}"


def remarks(record: Mapping[str, Any], preparation: Mapping[str, Any]) -> Iterator[str]:
    """Why a result may not be worth much: checks that warn, and what the map itself shows."""
    if named := preparation.get("named"):
        taken = preparation["modality"]
        yield f"The scan is {named} by its name, and was forced to be taken for {taken}"
    for name, found in preparation.get("checks", {}).items():
        if found["status"] != "pass" and found["value"] is not None:
            low, high = found["limits"]
            forced = name in CONTRAST and not low <= found["value"] <= high
            meaning = f"{CHECKS.get(name, name)} is {measured(found)}"
            yield f"{words(name, found)}, and was forced" if forced else meaning
    yield from record.get("remarks", ())


def notes(record: Mapping[str, Any], volumes: Volumes) -> Iterable[str]:
    """What a reader must know."""
    if volumes.healthy is None:
        yield "This method compares with no image, so there is no healthy counterpart."
    if volumes.mask is None:
        yield "The detector has not been calibrated, so there is no threshold and no mask."
    elif record.get("threshold"):
        rate = 100 * record["threshold"]["rate"]
        yield (
            f"A healthy brain exceeds the threshold in about {rate:g} % of its voxels too: "
            "large components mean more than their number."
        )


def write_page(
    path: Path,
    finding: Finding,
    *,
    healthy_scores: Iterable[float] = (),
    lesion: Mask | None = None,
) -> None:
    """Write the page of a scan."""
    scan_report(path, finding_page(finding, healthy_scores=healthy_scores, lesion=lesion))
