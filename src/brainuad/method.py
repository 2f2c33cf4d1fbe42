"""What every method is: fitted on healthy images, then asked how unlike them an image is.

A method is one file in ``brainuad/methods``. It never imports another method or the trainer: the
trainer is handed to ``fit`` as ``minimise``.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from brainuad.rng import Rng
from brainuad.types import AnomalyMap, Brain, Images, PerItem, UnavailableError, UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Images, the brain of what is judged in each, and the name of each image's random stream."""

    x: Images
    brain: Brain
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def rng(self, seed: int, *words: object) -> Rng:
        """The random streams of these images in the run with this seed."""
        return Rng.named(seed, self.keys, *words)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(x=self.x.to(device), brain=self.brain.to(device), keys=self.keys)


class Batches(ABC):
    """Healthy images with random access: what ``fit`` and the trainer read."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def get(self, indices: Sequence[int]) -> Batch:
        """The images with these numbers, in this order."""

    def all_keys(self) -> list[str]:
        """Names of the random streams of all images; those of one scan begin alike, up to a /."""
        return [key for batch in self.in_order(64) for key in batch.keys]

    def in_order(self, size: int) -> Iterator[Batch]:
        """Every image once, in order, in batches of at most ``size``."""
        for start in range(0, len(self), size):
            yield self.get(range(start, min(start + size, len(self))))


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """What a method says of a batch: anomaly map and, where it has them, the other two.

    Map and counterpart have one channel, also where the images show neighbours.

    Attributes:
        anomaly: >= 0, larger is less healthy.
        healthy: the images as healthy ones would be.
        score: one number for each image as a whole, larger is less healthy.
    """

    anomaly: AnomalyMap
    healthy: Images | None = None
    score: PerItem | None = None


Loss = Callable[[Batch, Rng], PerItem]


@runtime_checkable
class Minimise(Protocol):
    """The trainer, as a method sees it: lower ``loss`` by changing the parameters of ``module``."""

    def __call__(self, stage: str, module: nn.Module, loss: Loss, batches: Batches) -> None:
        """Train one stage, which has a name of its own within the method."""
        ...


class Method(nn.Module, ABC):
    """Base of every method.

    A subclass is a file ``methods/NAME.py`` whose ``__all__`` holds the class alone. It sets the
    class attributes below and is built from a frozen dataclass of options.
    """

    title: ClassVar[str]
    """One line for tables."""
    paper: ClassVar[str]
    """Authors, year, venue, identifier."""
    space: ClassVar[str]
    """Where it compares: ``pixel``, ``latent`` or ``intensity``."""
    supervision: ClassVar[str] = "healthy scans"
    """What it learns from; no method here sees a lesion before it is evaluated."""
    views: ClassVar[tuple[str, ...]] = ("axial",)
    """What it takes: ``axial`` (2-D slices), ``axial3`` (slices between their neighbours, three
    channels, of which the middle one is judged), ``volume`` (3-D); the first is the default."""
    stages: ClassVar[Mapping[str, float]] = {}
    """Training stages in order, with their share of a time budget; empty for closed forms."""
    train_with: ClassVar[Mapping[str, Any]] = {}
    """Settings of the training that suit this method, where the person asks for nothing else."""
    train_presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings of the training that belong to a preset, on top of these: as published."""
    Options: ClassVar[type]
    """Frozen dataclass of every option with its default."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    """Named sets of options; ``default`` is always there."""

    pixel_mm: tuple[float, ...] | None = None
    """Size of a pixel of the images it is shown, along each space axis; set by who shows a scan,
    None where it is not known."""
    fitted: Tensor

    def __init__(self, options: Any = None):
        super().__init__()
        self.options = self.Options() if options is None else options
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @classmethod
    def view_with(cls, options: Any) -> str:
        """The view that a detector with these options takes: the first, unless they ask else."""
        return cls.views[0]

    @classmethod
    def stages_with(cls, options: Any) -> Mapping[str, float]:
        """The stages that a training with these options has, with their shares of a budget."""
        return cls.stages

    @abstractmethod
    def fit(self, batches: Batches, *, minimise: Minimise) -> None:
        """Learn from healthy images; ends with :meth:`mark_fitted`."""

    @abstractmethod
    def detect(self, x: Images, brain: Brain, *, rng: Rng) -> Detection:
        """Anomaly map and healthy counterpart of each image; depends on no other image."""

    def notes(self) -> tuple[str, ...]:
        """What the card of a fitted detector says of this method besides, one sentence each."""
        return ()

    def passes(self, size: tuple[int, ...]) -> int:
        """Calls of its (denoising) net that one image of this size needs, at most; 0 without one.

        What else a detection costs, such as encoding and decoding, is not in it.
        """
        return 0

    def mark_fitted(self) -> None:
        """Say that ``detect`` may be called."""
        self.fitted.fill_(True)

    def check_fitted(self) -> None:
        """Raise unless ``fit`` has been completed or fitted weights were loaded."""
        if not self.fitted:
            raise UnavailableError(
                f"{type(self).__name__}: not fitted yet; call fit, or load a fitted detector"
            )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over saved parameters and buffers, whatever their shapes at construction."""
        self.load_state_dict(dict(state), strict=True)


def method_names() -> tuple[str, ...]:
    """Names of all methods that can be asked for, sorted."""
    package = importlib.import_module("brainuad.methods")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__)))


def method_class(name: str) -> type[Method]:
    """The class of the method called ``name``; unknown names list the choices."""
    if name not in method_names():
        raise UsageError(f"method {name!r}: unknown; choose from {', '.join(method_names())}")
    module = importlib.import_module(f"brainuad.methods.{name}")
    (only,) = module.__all__
    return getattr(module, only)


def preset_options(name: str, preset: str) -> dict[str, Any]:
    """Options that the preset of a method sets; unknown presets list the choices."""
    presets = method_class(name).presets
    if preset not in presets:
        raise UsageError(
            f"method {name!r}: unknown preset {preset!r}; choose from {', '.join(sorted(presets))}"
        )
    return dict(presets[preset])
