"""brainuad: unsupervised anomaly detection in brain MRI and CT with diffusion models.

A detector learns from scans of healthy people only; shown a new scan it says, voxel by voxel, how
unlike a healthy brain it is::

    import brainuad

    detector = brainuad.load("t1")
    found = detector.detect("sub-01_T1w.nii.gz")
    found.save("out")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from brainuad.calibrate import Calibration as Calibration
    from brainuad.detect import Finding as Finding
    from brainuad.detector import Detector as Detector
    from brainuad.method import Method as Method
    from brainuad.nifti import read_scan as read_scan
    from brainuad.postprocess import Postprocess as Postprocess
    from brainuad.prepare import Recipe as Recipe
    from brainuad.prepare import prepare_scan as prepare_scan
    from brainuad.scan import Scan as Scan
    from brainuad.store import Store as Store
    from brainuad.train import TrainSettings as TrainSettings
    from brainuad.types import BrainuadError as BrainuadError

# Names are looked up when first used, so that `brainuad --help` need not wait for torch.
_HOME = {
    "BrainuadError": "types",
    "Calibration": "calibrate",
    "Detector": "detector",
    "Finding": "detect",
    "Method": "method",
    "Postprocess": "postprocess",
    "Recipe": "prepare",
    "Scan": "scan",
    "Store": "store",
    "TrainSettings": "train",
    "prepare_scan": "prepare",
    "read_scan": "nifti",
}
__all__ = ["__version__", "load", *sorted(_HOME)]  # noqa: PLE0604


def load(folder: Any) -> "Detector":
    """A detector: a shipped one by name, such as ``t1``, or a folder made by ``brainuad fit``."""
    from brainuad.detector import Detector

    return Detector.load(folder)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"brainuad.{_HOME[name]}"), name)
    raise AttributeError(f"module 'brainuad' has no attribute {name!r}")
