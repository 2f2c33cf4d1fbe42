"""The card of a detector: what it was fitted on, how, what it is for and what it is not."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainuad.calibrate import Calibration

LIMITS = """\
## Intended use and limits

Research use. Not a medical device, not for diagnosis. The map says how unlike the healthy brains
of the training cohort a voxel is; it does not say why. Other scanners, ages and protocols than
those of the cohort raise false positives: calibrate on healthy scans of your own first.
"""


def card(
    name: str,
    config: Mapping[str, Any],
    calibration: Calibration | None,
    notes: Sequence[str] = (),
) -> str:
    """Markdown text of the card; ``notes`` are what the fitted method says of itself."""
    run = config.get("provenance", {})
    lines = [
        f"# {name}",
        "",
        f"Method `{config['method']}`, preset `{config['preset']}`, for {config['modality']},",
        f"prepared with recipe `{config['recipe'].get('name', '?')}`.",
        "",
        "## Fitted on",
        "",
        f"{len(run.get('inputs', {}))} scans of healthy people"
        + (f", {run['time']}." if run.get("time") else "."),
        *trained_lines(run.get("config", {}).get("steps", {})),
        "The licence of these scans governs how the weights may be shared.",
        *(["", config["about"].strip()] if config.get("about") else []),
        "",
        *(line for note in notes for line in (note, "")),
        "## Calibration",
        "",
        *calibration_lines(calibration),
        "",
        "",
    ]
    return "\n".join(lines) + LIMITS


def trained_lines(steps: Mapping[str, int]) -> list[str]:
    """How long each stage was trained."""
    told = ", ".join(f"{stage} {count:,}" for stage, count in steps.items())
    return [f"Optimiser steps: {told}."] if told else []


def calibration_lines(calibration: Calibration | None) -> list[str]:
    """One line per threshold."""
    if calibration is None:
        return ["None yet: run `brainuad calibrate`."]
    head = f"On {calibration.n} other healthy scans ({calibration.cohort or 'unnamed cohort'}):"
    rates = [
        f"- {100 * rate:g} % of healthy voxels exceed {value:.5g}"
        for rate, value in sorted(calibration.thresholds.items())
    ]
    recipe, weights = calibration.recipe_hash, calibration.weights_hash[:16]
    alone = f"`{recipe}`, weights `{weights}` and post-processing `{calibration.postprocess_hash}`"
    return [head, "", *rates, "", f"They hold for recipe {alone} alone."]
