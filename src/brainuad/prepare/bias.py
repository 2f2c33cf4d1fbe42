"""The slow change of brightness over a scan that its coil leaves, taken out."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as itk  # noqa: N813 - a toolkit, not a class

from brainuad.prepare.measure import known_brain
from brainuad.prepare.resample import box
from brainuad.prepare.toolkit import array, image, one_thread
from brainuad.prepare.work import Work
from brainuad.types import UsageError, Volume


@dataclass(frozen=True, kw_only=True)
class Bias:
    """N4 (Tustison et al. 2010) on the brain; everything else is scaled by the same field.

    The field is fitted on every ``shrink``-th voxel, with one thread, so that equal input gives
    an equal field.
    """

    iterations: tuple[int, ...] = (50, 50, 50, 50)
    """Most iterations on each level, coarse to fine."""
    tolerance: float = 1e-3
    """A level ends when the field changes less than this."""
    shrink: int = 4
    """Distance in voxels between those that the fit looks at, along each axis that is long."""

    def __post_init__(self) -> None:
        if (
            not self.iterations
            or min(self.iterations) < 1
            or self.shrink < 1
            or self.tolerance <= 0
        ):
            raise UsageError(
                f"bias: iterations {self.iterations}, tolerance {self.tolerance}, shrink "
                f"{self.shrink}; use numbers above 0"
            )

    def __call__(self, work: Work) -> Work:
        """The work with its scan divided by the field, whose mean in the brain is 1."""
        field = self.field(work)
        voxels = (work.scan.voxels / field).astype(np.float32)
        inside = field[known_brain(work.scan)]
        return work.with_scan(voxels=voxels).note(
            bias_field=[float(v) for v in np.percentile(inside, (1, 99))]
        )

    def field(self, work: Work) -> Volume:
        """The field at every voxel; 1 far from the brain."""
        scan, brain = work.scan, known_brain(work.scan)
        low, high = box(brain)
        cut = tuple(
            slice(max(0, a - self.shrink), b + self.shrink) for a, b in zip(low, high, strict=True)
        )
        place = scan.affine.copy()
        place[:3, 3] += place[:3, :3] @ [c.start for c in cut]
        # N4 works on logarithms.
        values = scan.voxels[cut] - min(0.0, float(scan.voxels[brain].min())) + 1e-3
        with one_thread():
            whole = image(np.where(brain[cut], values, 0).astype(np.float32), place)
            log_field = self._fitted(whole, image(brain[cut].astype(np.uint8), place))
        field = np.ones(scan.voxels.shape, np.float32)
        field[cut] = np.exp(log_field)
        return field / field[brain].mean(dtype=np.float64).astype(np.float32)

    def _fitted(self, whole: itk.Image, mask: itk.Image) -> Volume:
        steps = [max(1, min(self.shrink, size // 8)) for size in whole.GetSize()]
        n4 = itk.N4BiasFieldCorrectionImageFilter()
        n4.SetNumberOfWorkUnits(1)  # it splits its sums by this number, whatever the threads
        n4.SetMaximumNumberOfIterations(list(self.iterations))
        n4.SetConvergenceThreshold(self.tolerance)
        n4.Execute(itk.Shrink(whole, steps), itk.Shrink(mask, steps))
        return array(n4.GetLogBiasFieldAsImage(whole))
