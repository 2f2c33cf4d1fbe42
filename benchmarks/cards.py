"""What a detector was measured to do, written into its card from a finished benchmark.

Usage: python benchmarks/cards.py RUN LABEL [--card FILE]

RUN is the folder of `brainuad benchmark ixi-stroke`, LABEL a detector in it. Puts a section
"Measured" with a table into the card of the shipped detector of that name (or FILE), in the place
of an older one, and leaves the rest alone.
"""

import argparse
import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from brainuad.detector import Detector
from brainuad.manifest import atomic_path
from brainuad.shipped import detector_folder

TITLE = "## Measured"
ROWS = {
    "auprc_subject": "AUPRC, mean over people",
    "auprc_pooled": "AUPRC, all voxels",
    "dice_oracle_pooled": "best Dice, all voxels",
    "dice_at_fpr_0.01_pooled": "Dice at the 1 % threshold, all voxels",
    "healthy_fpr": "share of healthy people's voxels marked at 1 %",
    "healthy_fpr[source=IXI]": "the same, IXI",
    "healthy_fpr[source=ds002748]": "the same, ds002748",
    "auprc_subject[size=S]": "AUPRC, lesions below 1 ml",
    "auprc_subject[size=M]": "AUPRC, lesions of 1 to 10 ml",
    "auprc_subject[size=L]": "AUPRC, lesions above 10 ml",
    "auprc_subject[contrast=strong]": "AUPRC, strong contrast",
    "auprc_subject[contrast=medium]": "AUPRC, medium contrast",
    "auprc_subject[contrast=subtle]": "AUPRC, subtle contrast",
    "auprc_subject[source=IXI]": "AUPRC, people of IXI",
    "auprc_subject[source=ds002748]": "AUPRC, people of ds002748",
    "auprc_sham": "AUPRC of sham lesions (grain alone)",
    "prevalence_sham": "the same by chance",
}
"""Metrics of ``results.csv`` in the order of the table."""
HEAD = """\
On `ixi-stroke`: T1w scans of people who were neither fitted on nor calibrated with, 48 of them with
simulated infarcts; 95 % intervals over people. These cases chose the settings, so other people's
numbers will be a little lower. Known failures, with pictures: docs/detectors.md.

| | | 95 % |
|---|---|---|"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("label")
    parser.add_argument("--card", type=Path)
    return parser.parse_args()


def results(run: Path, label: str) -> dict[str, Mapping[str, str]]:
    """Rows of the detector's method and preset by metric."""
    config = Detector.load(run / "detectors" / label, thresholds=False).config
    with (run / "results.csv").open(newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["method"] == config.method]
    found = {row["metric"]: row for row in rows if row["preset"] == config.preset}
    if len(found) < sum(row["preset"] == config.preset for row in rows):
        raise SystemExit(
            f"{run}: holds two detectors of method {config.method}, preset {config.preset}, whose "
            "rows cannot be told apart; run the benchmark with one of them"
        )
    return found


def lines(found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The table, a line for each metric that was measured."""
    for metric, meaning in ROWS.items():
        if metric in found:
            row = found[metric]
            value, low, high = (float(row[name]) for name in ("value", "low", "high"))
            span = "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
            yield f"| {meaning} | {value:.3f} | {span} |"


def main() -> None:
    """Write the section."""
    args = arguments()
    section = "\n".join([TITLE, "", HEAD, *lines(results(args.run, args.label)), ""])
    path = args.card or detector_folder(args.label) / "card.md"
    text = re.sub(rf"{TITLE}\n.*?(?=^## )", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    before, limits, after = text.partition("## Intended use")
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{section}\n{limits}{after}")


if __name__ == "__main__":
    main()
