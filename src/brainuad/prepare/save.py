"""A prepared scan as files."""

from pathlib import Path

from brainuad.manifest import write_json
from brainuad.nifti import write_volume
from brainuad.prepare.measure import known_brain
from brainuad.prepare.pipeline import Prepared
from brainuad.prepare.template import MNI152

_MNI152 = 4
_ALIGNED = 2


def save_prepared(prepared: Prepared, folder: str | Path, stem: str) -> Path:
    """Write ``STEM_prepared.nii.gz``, ``STEM_brain.nii.gz`` and, last, ``STEM_prepare.json``.

    Args:
        prepared: the scan.
        folder: where to; made when missing.
        stem: beginning of the names.

    Returns:
        The JSON file: the report. Where it exists, the other two are complete.
    """
    folder = Path(folder)
    scan = prepared.scan
    code = _MNI152 if prepared.report.get("template") == MNI152 else _ALIGNED
    name = folder / f"{stem}_prepared.nii.gz"
    write_volume(name, scan.voxels, like=scan, kind="image", code=code)
    original = prepared.original
    write_volume(folder / f"{stem}_brain.nii.gz", known_brain(original), like=original, kind="mask")
    report = folder / f"{stem}_prepare.json"
    write_json(report, prepared.report)
    return report
