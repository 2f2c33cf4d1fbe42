"""Everything of a detector but its weights, and the fresh method that these settings describe."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from brainuad.config import build, to_dict
from brainuad.gate import UNKNOWN
from brainuad.joint import ENSEMBLE, Joint, Member
from brainuad.manifest import run_manifest
from brainuad.method import Method, method_class, preset_options
from brainuad.normative import NormativeOptions
from brainuad.postprocess import Postprocess
from brainuad.prepare import Recipe
from brainuad.scan import Scan
from brainuad.train_settings import TrainSettings
from brainuad.types import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Settings of a detector; :meth:`to_dict` is what ``detector.yaml`` holds."""

    method: str
    """Name of the method."""
    preset: str = "default"
    """Preset that the options started from."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """All options of the method, so that a change of its defaults does not change a detector."""
    modality: str = "T1w"
    """The modality that it is fitted on and takes."""
    recipe: Recipe
    """From the file to the tensor."""
    view: str = "axial"
    """What the method sees: ``axial`` slices, ``axial3`` (with neighbours) or a ``volume``."""
    postprocess: Postprocess = field(default_factory=Postprocess)
    """What is done to the map before thresholds."""
    normative: NormativeOptions | None = None
    """How the map is compared with what healthy people show at each place; None: it is not."""
    half: bool = False
    """Keep the weights in half precision: half the file, and a map that hardly differs."""
    about: str = ""
    """Of whose scans it is made and under which licences, for its card; Markdown."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted on, how and by what."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :meth:`from_dict` is its inverse."""
        plain = {name: getattr(self, name) for name in ("method", "preset", "modality", "view")}
        return {
            **plain,
            **({"about": self.about} if self.about else {}),
            **({"half": True} if self.half else {}),
            "options": to_dict(self.options),
            "recipe": self.recipe.to_dict(),
            "postprocess": to_dict(self.postprocess),
            "normative": None if self.normative is None else to_dict(self.normative),
            "provenance": to_dict(self.provenance),
        }

    def contradicts(self, scan: Scan) -> bool:
        """Whether the scan says that it is of another modality than the detector's."""
        return scan.modality not in (UNKNOWN, self.modality)

    def accepted(self, scan: Scan, name: str, *, force: bool = False) -> Scan:
        """The scan, if it is of the detector's modality, does not say what it is, or is forced.

        Raises:
            DataError: it is of another modality.
        """
        if self.contradicts(scan) and not force:
            raise DataError(
                f"{scan.subject}: is {scan.modality}, detector {name} takes {self.modality}; "
                f"choose a detector for {scan.modality}, or go on with --force"
            )
        return replace(scan, modality=self.modality)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> "DetectorConfig":
        """Settings from plain data.

        Raises:
            DataError: a part is missing.
            UsageError: an unknown or wrong setting.
        """
        missing = sorted({"method", "recipe", "postprocess"} - set(data))
        if missing:
            raise DataError(f"{where}: has no {missing[0]}; copy or fit the detector again")
        rest = {k: v for k, v in data.items() if k not in ("recipe", "postprocess", "normative")}
        normative = data.get("normative")
        if normative is not None:
            rest["normative"] = build(NormativeOptions, normative, where=f"{where}: normative")
        return cls(
            recipe=Recipe.from_dict(data["recipe"], where=f"{where}: recipe"),
            postprocess=build(Postprocess, data["postprocess"], where=f"{where}: postprocess"),
            **rest,
        )


def configured(
    method: str, preset: str, options: Mapping[str, Any], **settings: Any
) -> DetectorConfig:
    """Settings of a method from a preset and options on top of it, checked."""
    kind = method_class(method)
    chosen = build(kind.Options, merged(preset_options(method, preset), options), where=method)
    plain = to_dict(chosen)
    _check_slices(plain, method)
    return DetectorConfig(
        method=method,
        preset=preset,
        options=plain,
        view=kind.view_with(chosen),
        **settings,
    )


_OF_SLICES = {
    "dimensions": 2, "channels": 1, "channels_in": 1, "channels_out": 1, "mask_head": False,
}  # fmt: skip
"""What nets of a detector must have, since it is given grey slices; methods add what they need."""


def _check_slices(options: Mapping[str, Any], where: str) -> None:
    for name, value in options.items():
        if isinstance(value, Mapping):
            _check_slices(value, f"{where}.{name}")
        elif name in _OF_SLICES and value != _OF_SLICES[name]:
            raise UsageError(
                f"{where}.{name}: {value} is for other uses of this net; a detector of grey slices "
                f"has {_OF_SLICES[name]}, leave it out"
            )


def new_method(config: DetectorConfig, *, seed: int = 0) -> Method:
    """The method with its starting parameters, drawn from ``seed`` alone."""
    if config.method == ENSEMBLE:
        return Joint({name: _member(m) for name, m in config.options["members"].items()})
    return _plain_method(config.method, config.options, seed=seed)


def _plain_method(name: str, given: Mapping[str, Any], *, seed: int = 0) -> Method:
    kind = method_class(name)
    options = build(kind.Options, dict(given), where=name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(options)


def _member(settings: Mapping[str, Any]) -> Member:
    """A member, not fitted yet, as :func:`joint_config` described it."""
    normative = settings["normative"]
    return Member(
        method=_plain_method(settings["method"], settings["options"]),
        view=settings["view"],
        weight=settings["weight"],
        options=normative and build(NormativeOptions, normative, where="ensemble: normative"),
    )


def joint_config(members: Mapping[str, tuple[DetectorConfig, float]]) -> DetectorConfig:
    """Settings of a detector whose map is the weighted sum of those of others.

    Raises:
        UsageError: fewer than two, or such as see unlike scans.
    """
    configs = {name: config for name, (config, _) in members.items()}
    if len(configs) < 2:
        raise UsageError(f"ensemble: {len(configs)} detector(s); give at least two")
    first = next(iter(configs.values()))
    for name, config in configs.items():
        if (config.modality, config.recipe.hash) != (first.modality, first.recipe.hash):
            raise UsageError(
                f"ensemble: {name} takes {config.modality} prepared with {config.recipe.hash}, the "
                f"others {first.modality} with {first.recipe.hash}; join detectors of one recipe"
            )
        if config.method == ENSEMBLE:
            raise UsageError(f"ensemble: {name} is one itself; give its members instead")
        if config.postprocess != first.postprocess:
            raise UsageError(f"ensemble: {name} post-processes its map otherwise; make them alike")
    described = {
        name: {
            "weight": float(weight),
            "method": config.method,
            "preset": config.preset,
            "options": to_dict(config.options),
            "view": config.view,
            "normative": None if config.normative is None else to_dict(config.normative),
        }
        for name, (config, weight) in members.items()
    }
    inputs = {k: v for c in configs.values() for k, v in c.provenance.get("inputs", {}).items()}
    return replace(
        first,
        method=ENSEMBLE,
        preset="default",
        options={"members": described},
        view="volume",
        normative=None,
        half=all(config.half for config in configs.values()),
        about="\n\n".join(f"Member {name}: {c.about}" for name, c in configs.items() if c.about),
        provenance=run_manifest(command="ensemble", config={}, seed=0, inputs=inputs),
    )


def training_settings(
    method: str, changes: Mapping[str, Any] | None = None, *, preset: str = "default"
) -> TrainSettings:
    """How a method is trained: general defaults, the method's, the preset's, then ``changes``."""
    kind = method_class(method)
    own = {**kind.train_with, **kind.train_presets.get(preset, {}), **(changes or {})}
    return build(TrainSettings, own, where="training")


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the settings of ``top``, nested settings merged."""
    out = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out
