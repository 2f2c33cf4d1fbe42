"""The settings of trainings alone: the section ``training`` of a YAML file, then --set."""

from collections.abc import Sequence
from pathlib import Path

from brainuad.config import build, load_yaml, override, to_dict
from brainuad.detector_config import merged
from brainuad.train import TrainSettings
from brainuad.types import UsageError


def training_settings(config: Path | None, changes: Sequence[str]) -> TrainSettings:
    """Settings of the training alone: the section ``training`` of a file, then changes."""
    base = load_yaml(config) if config else {}
    unknown = sorted(set(base) - {"training"})
    if unknown:
        raise UsageError(f"{config}: unknown setting {unknown[0]!r}; known: training")
    whole = merged({"training": to_dict(TrainSettings())}, base)
    return build(TrainSettings, override(whole, changes)["training"], where="training")
