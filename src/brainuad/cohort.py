"""Many scans through one recipe to files: side by side, resumable, with a page to look at."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from brainuad.manifest import plain, write_bytes, write_text
from brainuad.pool import Pool
from brainuad.prepare import Prepared, Recipe, prepare_scan, save_prepared
from brainuad.prepare.checks import Checks, sentence
from brainuad.prepare.template import template_brain
from brainuad.read.source import Source
from brainuad.report import figures
from brainuad.report.pages import CohortPage, PreparedScan, cohort_report
from brainuad.report.planes import Volumes
from brainuad.scan_file import scan_stem
from brainuad.types import BrainuadError

PICTURES = "pictures"
ORDER = ("failed", "reject", "warn", "pass")


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one scan."""

    name: str
    """Stem of its files."""
    path: str
    status: str
    """``pass``, ``warn``, ``reject`` or ``failed``."""
    why: str = ""
    """What failed, or what the checks warn of."""
    known: bool = False
    """Whether it was done in an earlier run and nothing has changed."""
    report: dict[str, Any] | None = None
    """What ``X_prepare.json`` holds."""

    @property
    def bad(self) -> bool:
        """Whether there is no prepared scan."""
        return self.status in ("failed", "reject")


def prepare_cohort(
    sources: Sequence[Source],
    recipe: Recipe,
    out: Path,
    *,
    workers: int = 1,
    progress: bool = True,
) -> Iterator[Done]:
    """Prepare scans into a folder; each is reported as soon as it is done.

    For X it writes ``X_prepared.nii.gz``, ``X_brain.nii.gz``, a picture and, last,
    ``X_prepare.json``. A scan whose files and recipe have not changed since is not done again.

    Args:
        sources: the scans; their names must differ.
        recipe: what to do with each.
        out: folder, made when missing.
        workers: processes with one thread each.
        progress: show a bar.
    """
    work = partial(_prepared_to_files, recipe=recipe, out=out)
    with Pool(workers, progress=progress) as pool:
        for _, done in pool.map(work, list(sources), "prepare"):
            yield done


def _prepared_to_files(source: Source, *, recipe: Recipe, out: Path) -> Done:
    stem = scan_stem(source.path)
    try:
        fingerprint = source.fingerprint()
        report = read_report(out / f"{stem}_prepare.json")
        if report.get("fingerprint") == fingerprint and report.get("recipe_hash") == recipe.hash:
            return _done(stem, source, report, known=True)
        remove_earlier(out, stem)
        prepared = prepare_scan(source.read(), lenient(recipe))
        report = plain({**prepared.report, "fingerprint": fingerprint}, finite=True)
        write_bytes(out / PICTURES / f"{stem}.png", picture(prepared))
        if report.get("status") == "reject" and is_strict(recipe):
            reasons = sentence(report["checks"])
            why = f"{source.path}: {reasons}; check the scan, its mask and modality"
            return Done(name=stem, path=str(source.path), status="reject", why=why, report=report)
        save_prepared(replace(prepared, report=report), out, stem)
    except BrainuadError as error:
        return Done(name=stem, path=str(source.path), status="failed", why=str(error))
    return _done(stem, source, report)


def is_strict(recipe: Recipe) -> bool:
    """Whether a scan that a check rejects is an error."""
    return any(isinstance(step, Checks) and step.strict for step in recipe.steps)


def lenient(recipe: Recipe) -> Recipe:
    """The same recipe with checks that only report, so that a rejected scan can be looked at."""
    steps = [replace(s, strict=False) if isinstance(s, Checks) else s for s in recipe.steps]
    return replace(recipe, steps=tuple(steps))


def remove_earlier(out: Path, stem: str) -> None:
    """Take away what an earlier run left of a scan, first the report, which says "done"."""
    for name in (f"{stem}_prepare.json", f"{stem}_prepared.nii.gz", f"{stem}_brain.nii.gz"):
        (out / name).unlink(missing_ok=True)
    (out / PICTURES / f"{stem}.png").unlink(missing_ok=True)


def _done(stem: str, source: Source, report: dict[str, Any], *, known: bool = False) -> Done:
    checks = report.get("checks", {})
    doubtful = [f"{n} {c['value']:.3g}" for n, c in checks.items() if c["status"] != "pass"]
    return Done(
        name=stem,
        path=str(source.path),
        status=report.get("status", "pass"),
        why=", ".join(doubtful),
        known=known,
        report=report,
    )


def read_report(path: Path) -> dict[str, Any]:
    """What a finished preparation left, or nothing where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def picture(prepared: Prepared) -> bytes:
    """The scan with the outline of its brain, and where it went with that of the template."""
    original, scan = prepared.original, prepared.scan
    name = prepared.report.get("template")
    brain = template_brain(scan.voxels.shape, scan.affine, name=name) if name else scan.brain
    return figures.stacked(
        [
            Volumes(scan=original.voxels, affine=original.affine, brain=original.brain),
            Volumes(scan=scan.voxels, affine=scan.affine, brain=brain),
        ]
    )


def write_page(out: Path, done: Sequence[Done], *, recipe: Recipe, seconds: float) -> Path:
    """``index.html`` of a cohort: those that need a look first; and ``failures.tsv``."""
    rows = sorted(done, key=lambda d: (ORDER.index(d.status), d.name))
    failed = [d for d in rows if d.bad]
    lines = ["path\twhy", *(f"{d.path}\t{' '.join(d.why.split())}" for d in failed)]
    write_text(out / "failures.tsv", "\n".join(lines) + "\n")
    page = CohortPage(
        title=f"Preparation of {len(rows)} scans",
        scans=[_line(d, out) for d in rows],
        facts={
            "recipe": f"{recipe.name} ({recipe.hash})",
            "passed": sum(d.status == "pass" for d in rows),
            "with a warning": sum(d.status == "warn" for d in rows),
            "failed or rejected": len(failed),
            "done in an earlier run": sum(d.known for d in rows),
            "seconds": seconds,
        },
    )
    cohort_report(out / "index.html", page)
    return out / "index.html"


def _line(done: Done, out: Path) -> PreparedScan:
    report = done.report or {}
    still = f"{PICTURES}/{done.name}.png"
    there = (out / still).is_file()
    return PreparedScan(
        name=done.name,
        status=done.status,
        why=done.why,
        checks={n: c["value"] for n, c in report.get("checks", {}).items()},
        seconds=float(sum(report.get("seconds", {}).values())),
        picture=quote(still) if there else "",
    )
