"""Random changes of healthy training images; each image draws from its own stream."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from brainuad.artefacts import blurred, ghosted
from brainuad.rng import Rng
from brainuad.types import Brain, Images, PerItem, UsageError

Chances = Sequence[float | None]
GHOSTS = (4, 10)
SHARES = ("probability", "bias_probability", "blur_probability", "ghosting")
LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Which changes, and how large; 0 leaves one out."""

    probability: float = 0.5
    """Probability of each change by itself."""
    rotation_deg: float = 5.0
    """Largest rotation about each axis, in degrees either way."""
    translation_px: float = 3.0
    """Largest shift along each axis, in pixels either way."""
    zoom: float = 0.0
    """Largest change of the size, as a share either way, the same along all axes."""
    mirror: bool = True
    """Swap left and right: the first space axis."""
    brightness: float = 0.05
    """Largest addition to the intensity, either way; intensities run from 0 to 1."""
    contrast: float = 0.1
    """Largest change of the contrast about the middle of the range, as a share."""
    gamma: float = 0.15
    """Largest logarithm of the exponent, either way."""
    bias: float = 0.1
    """Largest logarithm of a smooth gain over the image, about."""
    noise: float = 0.02
    """Largest standard deviation of added noise."""
    blur_px: float = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    ghosting: float = 0.0
    """Largest share that a line of the spectrum loses, in [0, 1]: faint copies along an axis."""
    ghosting_least: float = 0.0
    """Least share that it loses where there are ghosts, at most ``ghosting``."""
    bias_probability: float | None = None
    """Probability of the smooth gain; None: ``probability``."""
    blur_probability: float | None = None
    """Probability of the blur; None: ``probability``."""
    constant: bool = False
    """Rotation, shift and zoom have their largest size, and one direction, whenever they happen,
    and a shift goes along all axes at once: what a slip in the released MAD-AD code amounts to."""

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        given = {n: getattr(self, n) for n in self.__dataclass_fields__}
        sizes = {n: v for n, v in given.items() if not isinstance(v, bool) and v is not None}
        wrong = {n: v for n, v in sizes.items() if v < 0}
        wrong |= {n: sizes[n] for n in SHARES if sizes.get(n, 0) > 1}
        if self.ghosting_least > self.ghosting:
            wrong["ghosting_least"] = self.ghosting_least
        if wrong or self.zoom >= 1:
            raise UsageError(
                f"augment: {wrong or {'zoom': self.zoom}}; use sizes of at least 0, "
                "probability and ghosting in [0, 1], ghosting_least up to ghosting, and a zoom "
                "below 1"
            )


def augment(x: Images, brain: Brain, options: Augment | None, *, rng: Rng) -> tuple[Images, Brain]:
    """Changed images, with the background at 0 again, and their brains.

    Channels beside the middle one show neighbours of the slice: what they show stays where it is
    not 0, whatever the brain of the slice itself.

    Args:
        x: images with intensities in [0, 1].
        brain: their brains; moved along.
        options: what may change, and by how much; None changes nothing.
        rng: one stream per image.
    """
    if options is None:
        return x, brain
    moves = places(len(x), x.ndim - 2, options, rng)
    changed = (moves != torch.eye(x.ndim - 2, x.ndim - 1)).flatten(1).any(1)
    if changed.any():
        rows = changed.to(x.device)
        x, brain = x.clone(), brain.clone()
        x[rows] = moved(x[rows], moves[changed], "bilinear")
        brain[rows] = moved(brain[rows].to(x), moves[changed], "nearest") > 0.5
    inside = shown(x, brain)
    x = spoiled(recoloured(x, options, rng), options, rng.fork("artefacts"))
    return x.clamp(0, 1) * inside, brain


def shown(x: Images, brain: Brain) -> Bool[Tensor, "batch channel *space"]:
    """Where an image holds anything: its brain, and where its neighbours are not 0."""
    if x.shape[1] == 1:
        return brain
    inside = x > 0
    inside[:, x.shape[1] // 2] = brain[:, 0]
    return inside


def amounts(
    options: Augment, rng: Rng, largest: Sequence[float], *, chances: Chances = ()
) -> Float[Tensor, "batch changes"]:
    """One amount per change, uniform up to its largest either way, or 0 where it is left out.

    Args:
        options: hold the probability of each change.
        rng: one stream per image.
        largest: amount of each change.
        chances: probability of each, None for that of the options; none at all: of all of them.
    """
    size = 2 * rng.uniforms(len(largest)) - 1
    draw = rng.uniforms(len(largest))
    each = [options.probability if c is None else c for c in chances or [None] * len(largest)]
    happens = torch.stack([draw[:, n] < c for n, c in enumerate(each)], 1)
    return size * happens * torch.tensor(largest)


def displacements(options: Augment, rng: Rng, largest: Sequence[float]) -> Tensor:
    """Amounts of changes of place: as others, or 0 and the largest alone where these are constant.

    Then all of ``largest`` happen together or not at all.
    """
    if not options.constant:
        return amounts(options, rng, largest)
    return (rng.uniforms(1) < options.probability) * torch.tensor(largest)


def places(batch: int, axes: int, options: Augment, rng: Rng) -> Float[Tensor, "batch axes _"]:
    """Where each place is taken from: rotation and mirror, then shift, in centred pixels."""
    turns = 1 if axes == 2 else 3
    angles = displacements(options, rng, [math.radians(options.rotation_deg)] * turns)
    shift = displacements(options, rng, [options.translation_px] * axes)
    swap = amounts(options, rng, [float(options.mirror)])[:, 0] != 0
    matrix = torch.eye(axes).repeat(batch, 1, 1)
    for turn, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)][:turns]):
        matrix = matrix @ rotation(angles[:, turn], axes, a, b)
    size = 1 + displacements(options, rng.fork("zoom"), [options.zoom])
    matrix = matrix * size[:, :, None]
    matrix[:, :, 0] *= torch.where(swap, -1.0, 1.0)[:, None]
    return torch.cat([matrix, shift[:, :, None]], dim=2)


def rotation(angle: PerItem, axes: int, a: int, b: int) -> Float[Tensor, "batch axes axes"]:
    """Rotation in the plane of two axes."""
    matrix = torch.eye(axes).repeat(len(angle), 1, 1)
    matrix[:, a, a] = matrix[:, b, b] = angle.cos()
    matrix[:, a, b], matrix[:, b, a] = -angle.sin(), angle.sin()
    return matrix


def moved(x: Images, places: Float[Tensor, "batch axes _"], mode: str) -> Images:
    """Images read at other places; 0 beyond the border."""
    half = torch.tensor(x.shape[2:], dtype=torch.float32) / 2
    # The library counts axes from the last and coordinates from -1 to 1.
    turn = places[:, :, :-1] * half / half[:, None]
    theta = torch.cat([turn.flip(1, 2), (places[:, :, -1] / half).flip(1)[:, :, None]], dim=2)
    grid = F.affine_grid(theta.to(x), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)


def recoloured(x: Images, options: Augment, rng: Rng) -> Images:
    """Intensities after gamma, contrast, brightness, a smooth gain and noise, kept in [0, 1]."""
    o, space = options, x.shape[2:]
    largest = [o.gamma, o.contrast, o.brightness, o.bias, o.noise]
    chances = (None, None, None, o.bias_probability, None)
    parts = (
        amounts(o, rng, largest, chances=chances)
        .to(x)
        .T.reshape(len(largest), -1, *[1] * (x.ndim - 1))
    )
    gamma, contrast, brightness, bias, noise = parts
    nodes = rng.normal(1, *[4] * len(space)).to(x)
    gain = F.interpolate(nodes, size=space, mode=LINEAR[len(space)], align_corners=True)
    y = x.clamp(min=0) ** gamma.exp()
    y = (y + contrast * (y - 0.5) + brightness) * (bias * gain).exp()
    return (y + noise.abs() * rng.normal_like(x)).clamp(0, 1)


def spoiled(x: Images, options: Augment, rng: Rng) -> Images:
    """Images after blur and ghosts, where any are asked for."""
    largest, chances = [options.blur_px, options.ghosting], (options.blur_probability, None)
    blur, faint = amounts(options, rng, largest, chances=chances).abs().T
    if least := options.ghosting_least:
        faint = torch.where(faint > 0, least + faint * (1 - least / options.ghosting), 0.0)
    # Only where it happens: an image must not depend on what happens to the others.
    if (rows := blur.nonzero()[:, 0]).numel():
        x = x.index_copy(0, rows.to(x.device), blurred(x[rows], blur[rows]))
    if (rows := faint.nonzero()[:, 0]).numel():
        own = Rng([rng.seeds[row] for row in rows.tolist()])
        ghosts = ghosted(x[rows], faint[rows], ghosts=GHOSTS, rng=own)
        x = x.index_copy(0, rows.to(x.device), ghosts)
    return x
