"""The settings of a fit: defaults, then the YAML file, then --set, then the named options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad.config import build, dump_yaml, load_yaml, override, to_dict
from brainuad.detector import Detector
from brainuad.detector_config import merged
from brainuad.detector_config import training_settings as training_settings_of
from brainuad.method import method_class, method_names, preset_options
from brainuad.normative import NormativeOptions
from brainuad.postprocess import Postprocess
from brainuad.train import TrainSettings
from brainuad.types import UsageError

RECIPES = {"T1w": "default-t1", "T2w": "default-t2", "FLAIR": "default-flair"}
NO_METHOD = "--method: none is given; choose"


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Resolved settings of a fit."""

    data: Mapping[str, Any]
    """Everything, as it is printed and stored."""
    said: frozenset[str] = frozenset()
    """Names of the settings that the file or the named options give."""

    @property
    def training(self) -> TrainSettings:
        """How to train."""
        return build(TrainSettings, self.data["training"], where="training")

    @property
    def postprocess(self) -> Postprocess:
        """What is done to the map."""
        return build(Postprocess, self.data["postprocess"], where="postprocess")

    def detector(self, **instead: Any) -> Detector:
        """The unfitted detector that the settings describe.

        Args:
            instead: a ``recipe``, ``modality`` or ``postprocess`` in place of these settings'.
        """
        data, normative = self.data, self.data["normative"]
        own = {
            "recipe": data["recipe"],
            "modality": data["modality"],
            "postprocess": self.postprocess,
        }
        made = Detector.create(
            data["method"],
            preset=data["preset"],
            options=data[data["method"]],
            **{**own, **instead},
            normative=None
            if normative is None
            else build(NormativeOptions, normative, where="normative"),
        )
        made.config = replace(made.config, about=data["about"], half=bool(data["half"]))
        return made

    def text(self) -> str:
        """YAML that makes the same detector again with ``--config``."""
        return dump_yaml(self.data)


def resolve(
    config: Path | None, changes: Sequence[str], *, named: Mapping[str, Any]
) -> FitSettings:
    """Settings of a fit.

    Args:
        config: YAML file with any of ``method``, ``preset``, ``modality``, ``recipe``,
            ``training``, ``postprocess``, ``normative``, ``about``, ``half`` and a section with the
            name of the method.
        changes: ``a.b=c``, for example ``training.steps=500`` or ``dae.noise_std=0.3``.
        named: values of ``method``, ``preset``, ``modality``, ``recipe`` and ``training``; None
            for those that were not given.

    Raises:
        UsageError: an unknown key or a wrong value; the message lists what is known.
    """
    given = {name: value for name, value in named.items() if value is not None}
    base = merged(load_yaml(config) if config else {}, given)
    if base.get("method") is None:
        missing = f"{config}: names no method; write `method:` and" if config else NO_METHOD
        raise UsageError(f"{missing} one of {', '.join(method_names())}")
    defaults = defaults_for(base)
    unknown = sorted(set(base) - set(defaults))
    if unknown:
        raise UsageError(f"{config}: unknown setting {unknown[0]!r}; known: {', '.join(defaults)}")
    data = override(merged(defaults, base), changes)
    return FitSettings(data=data, said=frozenset(base))


def defaults_for(base: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the chosen method and preset with its default."""
    method = base["method"]
    preset, modality = base.get("preset", "default"), base.get("modality", "T1w")
    options = build(method_class(method).Options, preset_options(method, preset), where=method)
    return {
        "method": method,
        "preset": preset,
        "modality": modality,
        "recipe": RECIPES.get(modality, "default-t1"),
        method: to_dict(options),
        "training": to_dict(training_settings_of(method, preset=preset)),
        "postprocess": to_dict(Postprocess()),
        "normative": None,
        "about": "",
        "half": False,
    }
