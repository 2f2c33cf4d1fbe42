"""Scans of healthy people out of label maps, where no healthy scan of a contrast is at hand.

After SynthSeg (Billot et al. 2023, Med Image Anal 86:102789): a label map is deformed at random,
painted with one random signal per tissue, blurred, sampled, and given bias and noise. There the
contrast is wholly random; here the signals follow the equations of the sequence.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from brainuad.fields import Field, Inside, Spacing, blurred, grown, hazy, smooth_field
from brainuad.rng import Rng
from brainuad.scan import Scan
from brainuad.tissues import BRAIN, CONTRASTS, NAMES, TISSUES, draw_sequence, draw_tissue, signal
from brainuad.types import Affine, DataError, UsageError

__all__ = ["GenerateOptions", "TissueMap", "generate", "tissue_map"]

Head: TypeAlias = UInt8[Tensor, "i j k"]
Slices: TypeAlias = Float[Tensor, "u v w"]
InSlices: TypeAlias = Bool[Tensor, "u v w"]
Places: TypeAlias = Float[Tensor, "i j k 3"]
LEAST_BRAIN = 1000
"""Voxels; what holds less brain is no label map of a head."""
WHITE, FLUID = NAMES.index("white"), NAMES.index("fluid")
VENTRICLE, CORTEX = NAMES.index("ventricle"), NAMES.index("cortex")
NO_TISSUE = 255


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """How scans are made of label maps; pairs are the range of what is drawn for every scan."""

    contrast: str = "FLAIR"
    """FLAIR, T2w or T1w."""
    turn_deg: float = 8.0
    """Standard deviation of the rotation about each axis, degrees."""
    stretch: float = 0.06
    """Standard deviation of the logarithm of the size along each axis."""
    bend_mm: float = 2.5
    """Standard deviation of the elastic displacement along each axis, mm."""
    ventricles: float = 0.25
    """Largest change of the size of the lateral ventricles and what lies around them."""
    filled: float = 0.9
    """Largest share of the fluid beside the cortex that is cortex: label maps have wide sulci."""
    caps: float = 0.12
    """Most that white matter at the ventricles is brighter, as in healthy people."""
    flow: float = 0.35
    """Most that fluid flowing in during FLAIR gives, relative to white matter."""
    bias: tuple[float, float] = (0.02, 0.10)
    """Standard deviation of the logarithm of the bias field."""
    noise: tuple[float, float] = (0.015, 0.06)
    """Standard deviation of the noise, relative to the signal of white matter."""
    blur_mm: tuple[float, float] = (0.4, 0.9)
    """Standard deviation of the blur in the plane of the slices, mm."""
    thickness_mm: tuple[float, float] = (1.0, 4.0)
    """Distance between slices, which are blurred as thick; the direction is drawn too."""
    mask_error: float = 0.15
    """How far the brain mask is off, as that of an extractor is; 0: the labels' own."""
    margin_mm: float = 18.0
    """What is kept of the head around the brain, mm; a larger brain has to fit in."""

    def __post_init__(self) -> None:
        if self.contrast not in CONTRASTS:
            choices = ", ".join(CONTRASTS)
            raise UsageError(f"generate: unknown contrast {self.contrast!r}; choose from {choices}")
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (0.0, value)
            if name != "contrast" and not 0 <= low <= high:
                raise UsageError(f"generate: {name} {value} is not 0 or more, rising; correct it")
        if not self.thickness_mm[0] > 0:
            raise UsageError(f"generate: thickness_mm {self.thickness_mm}; use more than 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class TissueMap:
    """A head as numbers of tissues (places in :data:`brainuad.tissues.NAMES`), and its geometry."""

    tissue: Head
    affine: Affine
    subject: str

    @property
    def spacing(self) -> Spacing:
        """Edge lengths of a voxel in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k


def tissue_map(labels: Scan, *, margin_mm: float | int = 18.0) -> TissueMap:
    """Tissues of a label map, cut to the brain and a margin around it.

    Args:
        labels: voxels are FreeSurfer labels, head included or not.
        margin_mm: what is kept around the brain, mm; air where the label map ends before.

    Raises:
        DataError: values that are no labels, labels that are not known, or no brain among them.
    """
    values = labels.voxels
    if not np.array_equal(values, np.round(values)):
        odd = float(values[values != np.round(values)][0])
        raise DataError(f"{labels.subject}: {odd:g} is no label; give a segmentation, not an image")
    numbers = {label: n for n, name in enumerate(NAMES) for label in TISSUES[name].labels}
    known = np.full(max(numbers) + 2, NO_TISSUE, np.uint8)
    known[list(numbers)] = list(numbers.values())
    # Whatever lies beyond the known labels meets the last place of the table, which is none.
    tissue = known[np.clip(values, -1, len(known) - 1).astype(np.int64)]
    if (tissue == NO_TISSUE).any():
        unknown = np.unique(values[tissue == NO_TISSUE]).astype(int).tolist()
        some = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"{labels.subject}: {len(unknown)} unknown labels ({some}); give FreeSurfer labels as "
            "SynthSeg's training maps have them"
        )
    inside = np.isin(tissue, BRAIN)
    if np.count_nonzero(inside) < LEAST_BRAIN:
        raise DataError(
            f"{labels.subject}: {np.count_nonzero(inside)} voxels of brain; give a label map of a "
            "whole brain"
        )
    margin = np.ceil(margin_mm / np.array(labels.spacing)).astype(int)
    where = np.nonzero(inside)
    tissue = np.pad(tissue, [(m, m) for m in margin])  # 0 is air
    low = [int(w.min()) - int(m) for w, m in zip(where, margin, strict=True)]
    high = [int(w.max()) + 1 + 2 * int(m) for w, m in zip(where, margin, strict=True)]
    kept = tissue[tuple(slice(a + int(m), b) for a, b, m in zip(low, high, margin, strict=True))]
    affine = labels.affine.copy()
    affine[:3, 3] = labels.affine[:3, :3] @ low + labels.affine[:3, 3]
    return TissueMap(
        tissue=torch.from_numpy(np.ascontiguousarray(kept)), affine=affine, subject=labels.subject
    )


def generate(head: TissueMap, *, options: GenerateOptions, subject: str, rng: Rng) -> Scan:
    """A random scan of a healthy person.

    Args:
        head: the anatomy.
        options: how the scan is made.
        subject: name of the person that comes out.
        rng: one stream; the scan depends on it, the head and the options alone.

    Returns:
        The scan in arbitrary units, the head around the brain included where the labels have it,
        with the mask of brain, ventricles and the fluid close around them.

    Raises:
        UsageError: ``rng`` has not one stream.
    """
    if len(rng) != 1:
        raise UsageError(f"generate: {len(rng)} random streams; give one for each scan")
    tissue = deformed(head, options, rng.fork("shape"))
    tissue = folded(tissue, head.spacing, options, rng.fork("sulci"))
    ideal = painted(tissue, head.spacing, options, rng.fork("contrast"))
    mask = extracted(tissue, head.spacing, options, rng.fork("mask"))
    image, mask, affine = sampled(ideal, mask, head, options, rng.fork("sampling"))
    voxels = acquired(image, np.linalg.norm(affine[:3, :3], axis=0), options, rng.fork("scanner"))
    return Scan(
        voxels=voxels.numpy(),
        affine=affine,
        modality=options.contrast,
        subject=subject,
        brain=mask.numpy(),
    )


def deformed(head: TissueMap, options: GenerateOptions, rng: Rng) -> Head:
    """The head of another person: turned, stretched, bent, mirrored, with other ventricles."""
    shape, spacing = head.tissue.shape, torch.tensor(head.spacing)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * spacing
    turn = torch.deg2rad(options.turn_deg * rng.fork("turn").normal(3)[0]).clamp(-0.5, 0.5)
    skew = torch.zeros(3, 3)
    skew[[0, 0, 1], [1, 2, 2]] = turn
    size = (options.stretch * rng.fork("size").normal(3)[0]).clamp(-0.12, 0.12).exp()
    where = grid @ (torch.linalg.matrix_exp(skew - skew.T) * size)
    coarse, fine = (tuple(mm / s for s in head.spacing) for mm in (35.0, 14.0))
    for axis in range(3):
        bend = smooth_field(shape, coarse, rng.fork("bend", axis))
        bend = bend + 0.35 * smooth_field(shape, fine, rng.fork("twist", axis))
        where[..., axis] += options.bend_mm * bend
    where = where + swollen(head, where, options, rng.fork("ventricles"))
    if float(rng.fork("mirror").uniform()) < 0.5:
        where = where.flip(0)
    half = (torch.tensor(shape) - 1) / 2 * spacing
    found = F.grid_sample(
        head.tissue.float()[None, None],
        (where / half).flip(-1)[None],
        mode="nearest",
        align_corners=True,
    )
    return found[0, 0].to(torch.uint8)


def swollen(head: TissueMap, where: Places, options: GenerateOptions, rng: Rng) -> Places:
    """Displacement (mm) that makes the ventricles larger or smaller, and fades 25 mm away."""
    places = (head.tissue == VENTRICLE).nonzero().float()
    if not len(places):
        return torch.zeros_like(where)
    middle = (places.mean(0) - (torch.tensor(head.tissue.shape) - 1) / 2) * torch.tensor(
        head.spacing
    )
    offset = where - middle
    near = torch.exp(-(offset**2).sum(-1, keepdim=True) / (2 * 25.0**2))
    return -options.ventricles * (2 * float(rng.uniform()) - 1) * near * offset


def folded(tissue: Head, spacing: Spacing, options: GenerateOptions, rng: Rng) -> Head:
    """The head with narrower sulci: some of the fluid within 1 mm of the cortex is cortex."""
    share = options.filled * float(rng.fork("share").uniform())
    field = smooth_field(tissue.shape, tuple(10.0 / s for s in spacing), rng.fork("where"))
    beside = grown(tissue == CORTEX, 1.0, spacing) & (tissue == FLUID)
    # The share of a normal field below this level.
    taken = field < torch.special.ndtri(torch.tensor(min(max(share, 1e-6), 1 - 1e-6)))
    return torch.where(beside & taken, CORTEX, tissue).to(torch.uint8)


def painted(tissue: Head, spacing: Spacing, options: GenerateOptions, rng: Rng) -> Field:
    """Signal of every voxel; that of white matter is 1 on average."""
    sequence = draw_sequence(options.contrast, rng.fork("sequence"))
    people = [draw_tissue(TISSUES[name], rng.fork(name)) for name in NAMES]
    levels = torch.tensor([signal(person, sequence) for person in people])
    levels = levels / levels[WHITE]
    index = tissue.long()
    uneven = torch.tensor([person.uneven for person in people])[index]
    shape = tissue.shape
    grain = rng.fork("grain").normal(*shape)[0]
    coarse = smooth_field(shape, tuple(12.0 / s for s in spacing), rng.fork("coarse"))
    image = levels[index] * (1 + uneven * (grain + 0.7 * coarse))
    wet = (tissue == VENTRICLE).float()
    caps = options.caps * float(rng.fork("caps").uniform())
    halo = (2 * hazy(wet, 2.0, spacing)).clamp(max=1)
    image = image * (1 + caps * halo * (tissue == WHITE))
    if options.contrast == "FLAIR":
        flow = options.flow * float(rng.fork("flow").uniform())
        streams = smooth_field(shape, tuple(9.0 / s for s in spacing), rng.fork("streams"))
        image = image + flow * (streams - 1).clamp(0, 1) * (wet + (tissue == FLUID))
    return image.clamp(min=0)


def extracted(tissue: Head, spacing: Spacing, options: GenerateOptions, rng: Rng) -> Inside:
    """The brain mask: brain, ventricles, and the fluid in the sulci and close around."""
    brain = torch.isin(tissue, torch.tensor(BRAIN, dtype=torch.uint8))
    rim = grown(brain, 1.0, spacing)
    closed = ~grown(~grown(brain, 4.0, spacing), 4.0, spacing)
    hull = brain | ((rim | closed) & (tissue == FLUID))
    if options.mask_error == 0:
        return hull
    soft = hazy(hull.float(), 1.5, spacing)
    off = smooth_field(tissue.shape, tuple(12.0 / s for s in spacing), rng)
    return soft + options.mask_error * off.clamp(-2, 2) > 0.5


def sampled(
    ideal: Field, mask: Inside, head: TissueMap, options: GenerateOptions, rng: Rng
) -> tuple[Slices, InSlices, Affine]:
    """Image and mask in the slices of a scan, and their affine."""
    across = (2, 2, 2, 0, 1)[int(rng.fork("direction").integers(0, 5))]
    thickness = float(rng.fork("thickness").uniform(*options.thickness_mm))
    blur = float(rng.fork("blur").uniform(*options.blur_mm))
    sd = [blur / s for s in head.spacing]
    sd[across] = max(sd[across], 0.4 * thickness / head.spacing[across])
    image = blurred(ideal, tuple(sd))
    shape = list(image.shape)
    shape[across] = max(4, round(shape[across] * head.spacing[across] / thickness))
    scale = np.array(image.shape) / np.array(shape)
    change = np.diag([*scale, 1.0])
    change[:3, 3] = (scale - 1) / 2  # the outer faces of both grids coincide
    both = torch.stack([image, mask.float()])[:, None]
    image, soft = F.interpolate(both, size=shape, mode="trilinear")[:, 0]
    return image, soft > 0.5, head.affine @ change


def acquired(
    image: Field, spacing: Float[np.ndarray, " 3"], options: GenerateOptions, rng: Rng
) -> Field:
    """What the scanner adds: a bias field, Rician noise and a gain."""
    cell = tuple((45.0 / spacing).tolist())
    strength = float(rng.fork("bias").uniform(*options.bias))
    bias = torch.exp(strength * smooth_field(image.shape, cell, rng.fork("field")).clamp(-2, 2))
    level = float(rng.fork("level").uniform(*options.noise))
    noise = level * rng.fork("noise").normal(2, *image.shape)[0]
    gain = 300 * float(torch.exp(0.3 * rng.fork("gain").normal(1)))
    # Scanners store whole numbers.
    return (gain * torch.hypot(image * bias + noise[0], noise[1])).round()
