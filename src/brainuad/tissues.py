"""Tissues of a head: which label is which, and how bright each is in an MR sequence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from brainuad.rng import Rng

CONTRASTS = ("FLAIR", "T2w", "T1w")
"""Kinds of sequence whose signal is known here."""


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """What an MR sequence sees of a tissue at 3 T, and how uneven it is.

    Relaxation times are of the order of Wansapura et al. 1999 (J Magn Reson Imaging 9:531) and
    Stanisz et al. 2005 (Magn Reson Med 54:507); iron shortens T2 of the pallidum.
    """

    labels: tuple[int, ...]
    """FreeSurfer labels, or those that SynthSeg's maps have for the rest of the head."""
    t1: float
    """Longitudinal relaxation time, ms."""
    t2: float
    """Transverse relaxation time, ms."""
    pd: float
    """Proton density, relative to water."""
    uneven: float = 0.03
    """Standard deviation of the signal within the tissue, relative to its mean."""
    spread: float = 0.03
    """Standard deviation of the logarithm of ``t1`` and ``t2`` between people."""


TISSUES: Mapping[str, Tissue] = {
    "air": Tissue(labels=(0,), t1=1.0, t2=1.0, pd=0.0),
    "white": Tissue(labels=(2, 41, 25, 57, 77, *range(251, 256)), t1=840.0, t2=77.0, pd=0.70),
    "cortex": Tissue(
        labels=(3, 42, 80, *range(1000, 1036), *range(2000, 2036)), t1=1350.0, t2=100.0, pd=0.82
    ),
    "cerebellar white": Tissue(labels=(7, 46), t1=880.0, t2=80.0, pd=0.71),
    "cerebellar cortex": Tissue(labels=(8, 47), t1=1300.0, t2=97.0, pd=0.81),
    "thalamus": Tissue(labels=(10, 49), t1=1130.0, t2=84.0, pd=0.77),
    "caudate": Tissue(labels=(11, 50), t1=1280.0, t2=91.0, pd=0.80),
    "putamen": Tissue(labels=(12, 51), t1=1200.0, t2=84.0, pd=0.79),
    "pallidum": Tissue(labels=(13, 52), t1=980.0, t2=67.0, pd=0.73),
    "stem": Tissue(labels=(16, 28, 60, 85, 170, 173, 174, 175), t1=960.0, t2=82.0, pd=0.73),
    "limbic": Tissue(labels=(17, 53, 18, 54, 26, 58), t1=1380.0, t2=106.0, pd=0.83),
    "plexus": Tissue(
        labels=(31, 63, 136, 137, 163, 164), t1=1700.0, t2=130.0, pd=0.88, uneven=0.2, spread=0.12
    ),
    "ventricle": Tissue(labels=(4, 5, 14, 15, 43, 44, 72), t1=4200.0, t2=1700.0, pd=1.0),
    "fluid": Tissue(labels=(24,), t1=4200.0, t2=1700.0, pd=1.0),
    "vessel": Tissue(labels=(30, 62, 514), t1=1600.0, t2=45.0, pd=0.35, uneven=0.3, spread=0.2),
    "bone": Tissue(labels=(515,), t1=400.0, t2=20.0, pd=0.15, uneven=0.3, spread=0.2),
    "marrow": Tissue(labels=(516,), t1=400.0, t2=55.0, pd=0.55, uneven=0.2, spread=0.2),
    "soft": Tissue(labels=(502, 507, 508, 509), t1=800.0, t2=50.0, pd=0.6, uneven=0.2, spread=0.2),
    "skin": Tissue(labels=(511,), t1=500.0, t2=45.0, pd=0.55, uneven=0.2, spread=0.2),
    "eye": Tissue(labels=(506,), t1=3500.0, t2=900.0, pd=1.0),
    "nerve": Tissue(labels=(512, 530), t1=950.0, t2=82.0, pd=0.72),
}
"""Tissues by name, left and right alike."""
NAMES = tuple(TISSUES)
BRAIN = tuple(NAMES.index(name) for name in NAMES[1 : NAMES.index("fluid")])
"""Numbers of the tissues of the brain, ventricles included and the fluid around it left out."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Settings of an MR sequence."""

    contrast: str
    tr: float
    """Repetition time, ms."""
    te: float
    """Echo time, ms."""
    ti: float = 0.0
    """Inversion time of FLAIR, as a share of the one at which fluid gives no signal."""
    flip: float = 90.0
    """Flip angle of T1w, degrees."""


@dataclass(frozen=True, kw_only=True)
class _Ranges:
    tr: tuple[float, float]
    te: tuple[float, float]
    ti: tuple[float, float] = (0.0, 0.0)
    flip: tuple[float, float] = (90.0, 90.0)


RANGES = {
    "FLAIR": _Ranges(tr=(6500.0, 11000.0), te=(90.0, 140.0), ti=(0.94, 1.02)),
    "T2w": _Ranges(tr=(3000.0, 8000.0), te=(75.0, 115.0)),
    "T1w": _Ranges(tr=(9.0, 18.0), te=(2.0, 5.0), flip=(18.0, 28.0)),
}
"""What scanners are set to: fast spin echo with and without inversion, spoiled gradient echo."""


def draw_sequence(contrast: str, rng: Rng) -> Sequence:
    """Random settings of a usual sequence of this contrast; ``rng`` has one stream."""
    ranges = RANGES[contrast]
    drawn = {f.name: float(rng.uniform(*getattr(ranges, f.name))) for f in fields(ranges)}
    return Sequence(contrast=contrast, **drawn)


def draw_tissue(tissue: Tissue, rng: Rng) -> Tissue:
    """The tissue of a random person; ``rng`` has one stream."""
    one, two, three = (tissue.spread * rng.normal(3)[0]).clamp(-2.5, 2.5).exp().tolist()
    return Tissue(
        labels=tissue.labels,
        t1=tissue.t1 * one,
        t2=tissue.t2 * two,
        pd=min(1.0, tissue.pd * three ** (1 / 3)),
        uneven=tissue.uneven,
        spread=tissue.spread,
    )


def signal(tissue: Tissue, sequence: Sequence) -> float:
    """Magnitude of the signal, 1 at most; the usual equations (Haacke et al. 1999, chapter 8).

    FLAIR is a spin echo after an inversion that nulls the fluid, T2w a spin echo, T1w a spoiled
    gradient echo, whose T2* is taken for two thirds of T2.
    """
    recovered = math.exp(-sequence.tr / tissue.t1)
    if sequence.contrast == "T1w":
        angle = math.radians(sequence.flip)
        steady = math.sin(angle) * (1 - recovered) / (1 - math.cos(angle) * recovered)
        return tissue.pd * steady * math.exp(-1.5 * sequence.te / tissue.t2)
    upright = 1 - recovered
    if sequence.contrast == "FLAIR":
        fluid = TISSUES["fluid"].t1
        null = fluid * math.log(2 / (1 + math.exp(-sequence.tr / fluid)))
        upright = 1 - 2 * math.exp(-sequence.ti * null / tissue.t1) + recovered
    return tissue.pd * abs(upright) * math.exp(-sequence.te / tissue.t2)
