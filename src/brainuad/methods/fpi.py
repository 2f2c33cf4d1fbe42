"""Synthetic anomalies marked by a net that knows where in the brain it looks (after FPI)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainuad.augment import Augment, moved, places, recoloured
from brainuad.config import Share
from brainuad.difference import Sign
from brainuad.equalise import Table, equalise, rank_table, ranked
from brainuad.method import Batch, Batches, Detection, Method, Minimise
from brainuad.networks import DenoisingUNetOptions, denoising_unet
from brainuad.rng import Rng, seed_of
from brainuad.synthetic import AnomalyLaw, Inside, Slab, with_anomalies
from brainuad.types import Brain, DataError, Images, PerItem, UsageError

__all__ = ["Fpi"]

LARGEST_Z, LARGEST_LOGIT = 8.0, 8.0
AT_ONCE = 16
REACH = 4
"""Pixels within which the largest change is looked for that a border is measured by."""
Whole = Float[Tensor, "i j k"]
WholeBrain = Bool[Tensor, "i j k"]
Seen = Float[Tensor, "channels rows columns"]
Middle = Bool[Tensor, "1 rows columns"]
Change = Float[Tensor, "batch 1 rows columns"]
ATLAS = ("mean", "deviation")


@dataclass(frozen=True, kw_only=True, slots=True)
class FpiOptions:
    """Options of :class:`Fpi`."""

    net: DenoisingUNetOptions = field(
        default_factory=lambda: DenoisingUNetOptions(widths=(16, 32, 64, 96), blocks="plain")
    )
    """The marking U-Net; its channels follow from ``neighbours``."""
    anomalies: AnomalyLaw = field(default_factory=AnomalyLaw)
    """Law of the synthetic anomalies."""
    sign: Sign = "absolute"
    """Which anomalies are made and looked for: of either kind, darker, or brighter tissue."""
    neighbours: Annotated[int, Field(ge=0)] = 2
    """Slices that the net sees below and above the one that it judges."""
    whole: Share = 0.1
    """Share of training slabs without an anomaly."""
    slabs: Annotated[int, Field(ge=1)] = 2
    """Slabs that each volume of a training step gives."""
    least: Annotated[int, Field(ge=1)] = 150
    """Slices with less brain, in pixels, are not trained on, where a scan has others."""
    visible: Annotated[float, Field(gt=0)] = 0.04
    """Least change of the intensity that counts as anomalous in training."""
    edge: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A change counts from this share of the largest within 4 pixels, so that marks end half way
    down a soft border, as drawn lesions do; 0: from ``visible`` alone."""
    mirrored: bool = True
    """Detect in each slice and in its mirror image, and take the mean."""
    minimum_count: Annotated[int, Field(ge=2)] = 10
    """Voxels inside fewer healthy brains than this have no known healthy level."""
    augment: Augment | None = None
    """Random changes of the training slabs, or none."""


OURS: dict[str, Any] = {"augment": {"noise": 0.0, "gamma": 0.2, "rotation_deg": 7.0, "zoom": 0.08}}


class Fpi(Method):
    """A U-Net is shown healthy slices with synthetic anomalies and says which pixels they cover.

    Besides the slice and its neighbours it sees how far each pixel lies from what healthy people
    have there (equalised intensity, in standard deviations), the healthy mean, and where it is. The
    map is the logit of the mark, lifted to be at least 0; a second output restores the tissue.
    Foreign patch interpolation, from which the idea comes, blends patches of other scans in; here
    tissue is mixed with a darker or brighter level, as partial volume and oedema do.

    References:
        Tan, Hou, Batten, Qiu, Kainz 2022, "Detecting outliers with foreign patch interpolation",
        MELBA 1:013, arXiv 2011.04197.
    """

    title = "Synthetic anomalies, marked (after FPI)"
    paper = "Tan et al. 2022, MELBA, arXiv 2011.04197 (the idea)"
    space = "pixel"
    views = ("volume",)
    stages: ClassVar[Mapping[str, float]] = {"mark": 1.0}
    train_with: ClassVar[Mapping[str, Any]] = {"lr": 2e-3, "batch_size": 8}
    Options = FpiOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": OURS,
        "dark": {**OURS, "sign": "dark"},
        "bright": {**OURS, "sign": "bright"},
        # Ours is small already; the names are those of the other methods.
        "small": OURS,
        "small-dark": {**OURS, "sign": "dark"},
        "tiny": {"net": {"widths": [8, 16]}, "minimum_count": 2, "neighbours": 1},
    }
    mean: Tensor
    deviation: Tensor

    def __init__(self, options: FpiOptions | None = None):
        super().__init__(options)
        seen = 2 * (2 * self.options.neighbours + 1) + 4
        self.net = denoising_unet(replace(self.options.net, channels=seen, outputs=2))
        for name in ATLAS:
            self.register_buffer(name, torch.zeros(0))

    # Fitting

    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """The healthy level of each place in one pass; then one stage, the marking net."""
        self.learn_levels(batches)
        minimise("mark", self.net, self.loss, batches)
        self.mark_fitted()

    def learn_levels(self, batches: Batches) -> None:
        """Mean and deviation of the equalised intensity at each place; deviation 0: unknown.

        Raises:
            DataError: no place lies inside enough healthy brains.
        """
        count = mean = squares = torch.zeros(())
        for batch in batches.in_order(1):
            inside = batch.brain[0, 0].cpu().float()
            step = (equalise(batch.x, batch.brain)[0, 0].cpu() - mean) * inside
            count = count + inside
            mean = mean + step / count.clamp(min=1)
            squares = squares + step * (step - step / count.clamp(min=1))
        known = count >= self.options.minimum_count
        if not known.any():
            raise DataError(
                f"fpi: no place lies inside {self.options.minimum_count} healthy brains; align "
                "the scans first, or give more of them"
            )
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
        low = deviation[known].kthvalue(max(1, int(known.sum()) // 20)).values
        device = next(self.net.parameters()).device
        deviation = deviation.clamp(min=max(float(low), 1e-3)) * known
        # Slices first, as the net is shown them.
        self.mean = (mean * known).movedim(2, 0).contiguous().to(device)
        self.deviation = deviation.movedim(2, 0).contiguous().to(device)

    def loss(self, batch: Batch, rng: Rng) -> PerItem:
        """Cross-entropy of the marks and twice the absolute error of the restoration, per pixel.

        Each volume gives ``slabs`` slabs; its loss is their mean.
        """
        n = self.options.slabs
        own = Rng([seed_of(s, "slab", i) for s in rng.seeds for i in range(n)])
        volumes = [self.upright(batch.x[v, 0], batch.brain[v, 0]) for v in range(len(batch))]
        each = [volume for volume in volumes for _ in range(n)]
        pairs = zip(each, own.seeds, strict=True)
        made = [self.example(*volume, rng=Rng([seed])) for volume, seed in pairs]
        stack, brain = (torch.stack(parts) for parts in zip(*made, strict=True))
        stack, brain = self.moved(stack, brain, own.fork("place"))
        marked = self.marked(self.lost(stack).abs())
        stack = self.recoloured(stack, own.fork("colour"))
        output = self.net(stack[:, :-1])
        cross = F.binary_cross_entropy_with_logits(output[:, 1:], marked, reduction="none")
        error = (cross + 2 * (output[:, :1] - self.lost(stack)).abs()) * brain
        return error.flatten(1).mean(1).reshape(-1, n).mean(1)

    def marked(self, change: Change) -> Change:
        """1 where tissue counts as anomalous: changed enough, and not by the foot of a border."""
        most = F.max_pool2d(change, 2 * REACH + 1, stride=1, padding=REACH)
        enough = (change > self.options.visible) & (change >= self.options.edge * most)
        return enough.to(change)

    def lost(self, stack: Images) -> Change:
        """What would make the tissue in the middle of slabs healthy again."""
        middle = self.options.neighbours
        return stack[:, -1:] - stack[:, middle : middle + 1]

    def recoloured(self, stack: Images, rng: Rng) -> Images:
        """Slabs and their healthy middle in other intensities, where the options say so.

        Only what is shown of the scan changes: ranks would hardly, and what they are compared with
        must stay true.
        """
        how = self.options.augment
        if how is None:
            return stack
        shown = [*range(2 * self.options.neighbours + 1), stack.shape[1] - 1]
        images = stack[:, shown]
        stack = stack.clone()
        stack[:, shown] = recoloured(images, how, rng) * (images > 0)
        return stack

    def moved(self, stack: Images, brain: Brain, rng: Rng) -> tuple[Images, Brain]:
        """Slabs in another place, with all that belongs to them."""
        how = self.options.augment
        if how is None:
            return stack, brain
        where = places(len(stack), 2, how, rng)
        there = moved(brain.to(stack), where, "nearest") > 0.5
        return moved(stack, where, "bilinear") * there, there

    def upright(self, x: Whole, brain: WholeBrain) -> tuple[Slab, Inside, Table]:
        """A volume and its brain with the slices first, and the ranks of its levels."""
        table = rank_table(x, brain)
        return x.movedim(2, 0).contiguous(), brain.movedim(2, 0).contiguous(), table

    def example(self, x: Slab, brain: Inside, table: Table, *, rng: Rng) -> tuple[Seen, Middle]:
        """What the net sees of a random slab of a volume, its healthy middle, and its brain."""
        size = brain.flatten(1).sum(1)
        slices = (size >= min(self.options.least, int(size.max()))).nonzero()[:, 0]
        k = int(slices[int(rng.fork("slice").uniform() * len(slices))])
        slab, inside = self.around(x, k), self.around(brain, k)
        sick = slab
        if float(rng.fork("whole").uniform()) >= self.options.whole:
            law, sign = self.options.anomalies, self.options.sign
            sick = with_anomalies(law, slab, inside, sign, rng=rng.fork("anomaly"))
        middle = self.options.neighbours
        seen = self.features(sick, inside, k, table)
        return torch.cat([seen, slab[middle][None]]), inside[middle][None]

    # Features

    def around(self, volume: Tensor, k: int) -> Tensor:
        """A slice between its neighbours, slices first; zeros beyond the volume."""
        reach, count = self.options.neighbours, len(volume)
        part = volume[max(0, k - reach) : k + reach + 1]
        beyond = [max(0, reach - k), max(0, k + reach + 1 - count)]
        return F.pad(part, [0, 0, 0, 0, *beyond]) if any(beyond) else part

    def features(self, slab: Slab, inside: Inside, k: int, table: Table) -> Seen:
        """The slab, how unlike healthy people it is, their mean in the middle, and the place."""
        mean, deviation = (self.around(part, k).to(slab) for part in (self.mean, self.deviation))
        known = (deviation > 0) & inside
        z = (ranked(slab, table) - mean) / deviation.clamp(min=1e-3)
        z = z.clamp(-LARGEST_Z, LARGEST_Z) * known / 3
        middle = self.options.neighbours
        place = torch.stack(coordinates(self.mean.shape, k)).to(slab)
        return torch.cat([slab, z, mean[middle][None] * inside[middle], place])

    # Detection

    def passes(self, size: tuple[int, ...]) -> int:
        """One call for each slice, and one for its mirror image."""
        return size[-1] * (1 + self.options.mirrored)

    @torch.no_grad()
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Lifted logits of the marks, and the restored tissue; nothing is drawn."""
        self.check_fitted()
        k, i, j = self.mean.shape
        if tuple(x.shape[2:]) != (i, j, k):
            raise UsageError(
                f"fpi: image has shape {tuple(x.shape[2:])}, healthy people are known on "
                f"{(i, j, k)}; prepare the scan with the detector's recipe"
            )
        found = [self.one(x[n, 0], brain[n, 0]) for n in range(len(x))]
        marks, restored = (torch.stack(parts)[:, None] for parts in zip(*found, strict=True))
        lifted = marks.clamp(-LARGEST_LOGIT, LARGEST_LOGIT) + LARGEST_LOGIT
        healthy = (x + restored).clamp(0, 1) * brain
        return Detection(anomaly=lifted * brain, healthy=healthy)

    def one(self, x: Whole, brain: WholeBrain) -> tuple[Whole, Whole]:
        """Logits and change of tissue of one volume."""
        slices, inside, table = self.upright(x, brain)
        out = x.new_zeros(2, *slices.shape)
        kept = inside.flatten(1).any(1).nonzero()[:, 0].tolist()
        for start in range(0, len(kept), AT_ONCE):
            some = kept[start : start + AT_ONCE]
            slabs = [(self.around(slices, k), self.around(inside, k), k) for k in some]
            out[:, some] = self.asked(torch.stack([self.features(*slab, table) for slab in slabs]))
        restored, marks = out.movedim(1, 3)
        return marks, restored

    def asked(self, seen: Images) -> Float[Tensor, "2 batch rows columns"]:
        """What the net says of slices, and, where wanted, of their mirror images."""
        found = self.net(seen)
        if self.options.mirrored:
            found = (found + self.net(seen.flip(2)).flip(2)) / 2
        return found.float().movedim(1, 0)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over saved weights and the healthy levels of any grid."""
        for name in ATLAS:
            setattr(self, name, torch.empty_like(state[name]))
        super().restore(state)


def coordinates(shape: Sequence[int], k: int) -> list[Tensor]:
    """Distance from the middle plane, place from back to front, and height, each in [-1, 1]."""
    slices, rows, columns = shape
    across = torch.linspace(-1, 1, rows).abs()[:, None].expand(rows, columns)
    along = torch.linspace(-1, 1, columns)[None].expand(rows, columns)
    return [across, along, torch.full((rows, columns), 2 * k / slices - 1)]
