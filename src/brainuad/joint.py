"""Several fitted methods that answer as one: their maps are weighted and added."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.maps import Maps, canonical_maps
from brainuad.method import Batches, Detection, Method, Minimise
from brainuad.normative import Normative, NormativeOptions, split_state
from brainuad.rng import Rng
from brainuad.scan import Scan
from brainuad.types import Brain, Images, UsageError

ENSEMBLE = "ensemble"
"""What the settings of a joint detector call its method."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One of several: a fitted method, what it is compared with, and how much it counts."""

    method: Method
    view: str
    weight: float
    options: NormativeOptions | None = None
    normative: Normative | None = None

    def __post_init__(self) -> None:
        """Refuse a weight that is none."""
        if not 0 < self.weight < float("inf"):
            raise UsageError(f"ensemble: a member counts {self.weight}; give weights above 0")


@dataclass(frozen=True, kw_only=True)
class JointOptions:
    """None: all that can be chosen is who the members are and what they count."""


class Joint(Method):
    """The sum of the members' maps, each times its weight.

    The maps must be of one kind, best each in standard deviations of healthy people: members with
    a normative model are compared with it first. The healthy counterpart is that of the first
    member which has one.
    """

    title = "Ensemble of fitted detectors"
    paper = "none"
    space = "several"
    views = ("volume",)
    Options = JointOptions
    stages: ClassVar[Mapping[str, float]] = {}

    def __init__(self, members: Mapping[str, Member]):
        super().__init__()
        self.members = dict(members)
        # A list, because names of folders may hold dots, which names of modules may not.
        self.parts = nn.ModuleList(member.method for member in members.values())

    def fit(self, batches: Batches, *, minimise: Minimise) -> NoReturn:
        """Members are fitted before they are joined."""
        raise UsageError("ensemble: is not fitted itself; fit its members, then join them")

    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Members may look at a scan in unlike pieces, so only whole scans can be asked for."""
        raise UsageError("ensemble: looks at whole scans; use its detector")

    def maps(self, scan: Scan, *, seed: int, batch_size: int, device: str) -> Maps:
        """The weighted sum of what the members say of a prepared scan."""
        found = [
            maps_of(
                member.method,
                member.normative,
                scan,
                view=member.view,
                seed=seed,
                batch_size=batch_size,
                device=device,
            )
            for member in self.members.values()
        ]
        weights = [member.weight for member in self.members.values()]
        total = np.sum([w * f.anomaly for w, f in zip(weights, found, strict=True)], axis=0)
        healthy = next((f.healthy for f in found if f.healthy is not None), None)
        return Maps(anomaly=total.astype(np.float32), healthy=healthy)

    @property
    def normative(self) -> Normative | None:
        """What healthy people show, of the first member that knows."""
        return next((m.normative for m in self.members.values() if m.normative), None)

    def learned(self) -> dict[str, Tensor]:
        """All that the members learned, each under its name."""
        out: dict[str, Tensor] = {}
        for name, member in self.members.items():
            own = dict(member.method.state_dict())
            own |= member.normative.state() if member.normative else {}
            out |= {f"{name}/{key}": value for key, value in own.items()}
        return out

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`learned` gave."""
        for name, member in self.members.items():
            start = f"{name}/"
            mine = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            own, normative = split_state(mine, member.options)
            member.method.restore(own)
            self.members[name] = replace(member, normative=normative)

    def notes(self) -> tuple[str, ...]:
        """What the members say of themselves."""
        return tuple(note for m in self.members.values() for note in m.method.notes())


def maps_of(method: Method, normative: Normative | None, scan: Scan, **how: Any) -> Maps:
    """What a method says of a prepared scan, compared with healthy people where they are known.

    Args:
        method: fitted.
        normative: what healthy people show at each place, or None.
        scan: as prepared for it.
        how: view, seed, batch size and device, see :func:`~brainuad.maps.canonical_maps`.
    """
    if isinstance(method, Joint):
        return method.maps(scan, **{name: v for name, v in how.items() if name != "view"})
    found = canonical_maps(method, scan, **how)
    if normative is None:
        return found
    return replace(found, anomaly=normative.map(scan, found.anomaly, found.healthy))


def learned(
    method: Method, normative: Normative | None, *, half: bool = False
) -> dict[str, Tensor]:
    """All that a detector learned, by name: the method's weights and the normative model.

    Args:
        method: fitted.
        normative: what healthy people show, or None.
        half: numbers in half precision, where they are not whole or boolean.
    """
    own = method.learned() if isinstance(method, Joint) else dict(method.state_dict())
    own |= normative.state() if normative else {}
    return {k: halved(v) if half else v for k, v in own.items()}


def halved(values: Tensor) -> Tensor:
    """In half precision, unless these are no fractions or too large for it."""
    if values.dtype != torch.float32 or not values.numel():
        return values
    short = values.half()
    return short if short.isfinite().all() else values


def taken_over(
    method: Method, state: Mapping[str, Tensor], options: NormativeOptions | None
) -> Normative | None:
    """Give a new method what :func:`learned` kept of a fitted one, and return the other part."""
    own, normative = split_state(state, options)
    method.restore(own)
    return normative
