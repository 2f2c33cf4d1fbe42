"""The brain by a program that a group has installed: SynthStrip or HD-BET, for any MR contrast.

Both are found by their commands; nothing of them is shipped or downloaded.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from brainuad.nifti import read_mask, write_volume
from brainuad.scan import Scan
from brainuad.types import DataError, Mask, UnavailableError

MOST_SECONDS = 1800
"""A program that has not answered by then hangs."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command that writes the brain mask of a scan."""

    commands: tuple[str, ...]
    """Names under which it is installed, the preferred first."""
    words: Callable[[Path, Path], list[str]]
    """Its arguments, from the scan's file and an empty folder to write into."""
    mask: str
    """Where the mask is then, in that folder."""
    install: str
    """What to do when it is missing."""

    @property
    def command(self) -> str | None:
        """The command that is there, or None."""
        return next((c for c in self.commands if shutil.which(c)), None)


PROGRAMS = {
    "synthstrip": Program(
        # Hoopes et al. 2022, NeuroImage 260, 119474.
        commands=("mri_synthstrip", "nipreps-synthstrip", "synthstrip-singularity"),
        words=lambda scan, out: ["-i", str(scan), "-m", str(out / "mask.nii.gz")],
        mask="mask.nii.gz",
        install="it comes with FreeSurfer 7.3 and later",
    ),
    "hd-bet": Program(
        # Isensee et al. 2019, Human Brain Mapping 40, 4952-4964; commands of its version 2.
        commands=("hd-bet",),
        words=lambda scan, out: [
            *("-i", str(scan), "-o", str(out / "brain.nii.gz")),
            *("-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"),
        ],
        mask="brain_bet.nii.gz",
        install="install it with `pip install hd-bet`",
    ),
}
"""By the names that recipes have for them."""


def installed() -> str | None:
    """The first of the programs that is there, or None."""
    return next((name for name, program in PROGRAMS.items() if program.command), None)


def from_program(name: str, scan: Scan) -> Mask:
    """The brain of a scan by a program out of :data:`PROGRAMS`.

    Raises:
        UnavailableError: it is not installed.
        DataError: it failed, hangs, or its mask does not lie on the grid of the scan.
    """
    program = PROGRAMS[name]
    if program.command is None:
        raise UnavailableError(
            f"{name}: not installed (no {' or '.join(program.commands)} on the PATH); "
            f"{program.install}, or give a brain mask"
        )
    with tempfile.TemporaryDirectory(prefix="brainuad-") as folder:
        file, out = Path(folder) / "scan.nii.gz", Path(folder) / "out"
        out.mkdir()
        write_volume(file, scan.voxels, like=replace(scan, source=None), kind="image", code=1)
        _run([program.command, *program.words(file, out)], f"{scan.subject}: {name}")
        if not (out / program.mask).is_file():
            raise DataError(f"{scan.subject}: {name} wrote no mask; give a brain mask")
        return read_mask(out / program.mask, like=scan, empty=True)


def _run(words: list[str], who: str) -> None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{who} has not ended after {MOST_SECONDS} s; give a brain mask made elsewhere"
        ) from error
    except OSError as error:
        raise UnavailableError(f"{who} cannot be started ({error}); install it again") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise DataError(
            f"{who} failed with code {done.returncode} ({said[:200]}); run it by hand to see why, "
            "or give a brain mask"
        )
