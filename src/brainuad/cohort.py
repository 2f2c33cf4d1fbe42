"""Many scans through one recipe to files: side by side, resumable, with a page to look at."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from brainuad.manifest import plain, write_bytes, write_text
from brainuad.pool import Pool
from brainuad.prepare import Prepared, Recipe, prepare_scan, save_prepared
from brainuad.prepare.brain import Brain
from brainuad.prepare.checks import Checks, doubts, sentence
from brainuad.prepare.template import template_brain
from brainuad.read.source import Source
from brainuad.report import figures
from brainuad.report.pages import CohortPage, PreparedScan, cohort_report
from brainuad.report.planes import Volumes
from brainuad.scan_file import first_names, scan_stem
from brainuad.types import BrainuadError, UsageError

PICTURES = "pictures"
UNCHECKED = "not checked"
ORDER = ("failed", "reject", "warn", UNCHECKED, "pass")


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one scan."""

    name: str
    """Stem of its files."""
    path: str
    status: str
    """``pass``, ``warn``, ``reject``, ``failed``, or ``not checked`` by a recipe without checks."""
    why: str = ""
    """What failed, what the checks warn of, and which files were left out."""
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
) -> Generator[Done, None, None]:
    """Prepare scans into a folder; each is reported as soon as it is done.

    For X it writes ``X_prepared.nii.gz``, ``X_brain.nii.gz``, a picture and, last,
    ``X_prepare.json``. A scan whose files and recipe have not changed since is not done again.

    Args:
        sources: the scans; their names must differ.
        recipe: what to do with each.
        out: folder, made when missing.
        workers: processes with one thread each.
        progress: show a bar.

    Raises:
        UsageError: the recipe finds no brain, and a scan comes without its mask.
    """
    bare = next((source for source in sources if source.brain is None), None)
    if bare is not None and not any(isinstance(step, Brain) for step in recipe.steps):
        raise UsageError(
            f"recipe {recipe.name}: has no brain step, and {bare.path} comes without a brain "
            "mask; add the step, or give masks"
        )
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
    doubt, left_out = doubts(report.get("checks", {})), report.get("input", {}).get("left_out")
    files = f"left out: {first_names(left_out)}" if left_out else ""
    return Done(
        name=stem,
        path=str(source.path),
        status=report.get("status", UNCHECKED),
        why="; ".join(words for words in (doubt, files) if words),
        known=known,
        report=report,
    )


def done_before(sources: Sequence[Source], recipe: Recipe, out: Path) -> list[Done]:
    """Scans of which the folder holds what this recipe made of them.

    Nothing is read anew, so a file that has changed since is told by the next run alone.
    """
    found = []
    for source in sources:
        stem = scan_stem(source.path)
        report = read_report(out / f"{stem}_prepare.json")
        if report.get("recipe_hash") == recipe.hash:
            found.append(_done(stem, source, report, known=True))
    return found


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


def write_page(
    out: Path, done: Sequence[Done], *, recipe: Recipe, seconds: float, missing: int = 0
) -> Path:
    """``index.html`` of a cohort, those that need a look first; and ``failures.tsv`` if any failed.

    Args:
        out: the cohort's folder.
        done: what became of the scans.
        recipe: what they were prepared by.
        seconds: how long that took.
        missing: scans that a run which was stopped has not come to.
    """
    rows = sorted(done, key=lambda d: (ORDER.index(d.status), d.name))
    _write_failures(out / "failures.tsv", [d for d in rows if d.bad])
    stopped = {"stopped before": _scans(missing)} if missing else {}
    page = CohortPage(
        title=f"Preparation of {_scans(len(rows))}",
        scans=[_line(d, out) for d in rows],
        facts={
            "recipe": f"{recipe.name} ({recipe.hash})",
            **stopped,
            **_counts(rows),
            **_unmeasured(rows),
            "seconds": seconds,
        },
    )
    cohort_report(out / "index.html", page)
    return out / "index.html"


def _scans(count: int) -> str:
    return f"{count} scan{'' if count == 1 else 's'}"


def _write_failures(path: Path, failed: Sequence[Done]) -> None:
    """The table of what failed; none where nothing did, not even that of an earlier run."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    lines = ["path\twhy", *(f"{d.path}\t{' '.join(d.why.split())}" for d in failed)]
    write_text(path, "\n".join(lines) + "\n")


def _counts(rows: Sequence[Done]) -> dict[str, int]:
    found = {
        "passed": sum(d.status == "pass" for d in rows),
        "with a warning": sum(d.status == "warn" for d in rows),
        "failed or rejected": sum(d.bad for d in rows),
        "done in an earlier run": sum(d.known for d in rows),
    }
    unchecked = sum(d.status == UNCHECKED for d in rows)
    return found | ({"not checked (the recipe has no checks)": unchecked} if unchecked else {})


def _unmeasured(rows: Sequence[Done]) -> dict[str, str]:
    """Checks that say nothing about some of the scans, with the reason."""
    why: dict[str, str] = {}
    for row in rows:
        why |= (row.report or {}).get("checks_left_out", {})
    words = {
        f"check {name.replace('_', ' ')}": f"left out: {reason}" for name, reason in why.items()
    }
    return dict(sorted(words.items()))


def _line(done: Done, out: Path) -> PreparedScan:
    report = done.report or {}
    still = f"{PICTURES}/{done.name}.png"
    there = (out / still).is_file()
    return PreparedScan(
        name=done.name,
        status=done.status,
        why=done.why,
        checks={
            n: c["value"] for n, c in report.get("checks", {}).items() if c["value"] is not None
        },
        seconds=float(sum(report.get("seconds", {}).values())),
        picture=quote(still) if there else "",
    )
