"""Programs of other people find the brain where they are installed; each way to fail is said."""

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.prepare.heads import simple

from brainuad.prepare import stripper
from brainuad.prepare.brain import Brain
from brainuad.prepare.work import Work
from brainuad.types import DataError, UnavailableError

MASK = """
import sys, nibabel as nib, numpy as np
words = sys.argv[1:]
scan = nib.load(words[words.index("-i") + 1])
mask = (scan.get_fdata() > 100).astype("uint8")
nib.save(nib.Nifti1Image(mask, scan.affine), {where})
"""
SYNTHSTRIP = MASK.format(where='words[words.index("-m") + 1]')
HD_BET = MASK.format(where='words[words.index("-o") + 1].replace(".nii.gz", "_bet.nii.gz")')


@pytest.fixture
def path(tmp_path: Path, monkeypatch) -> Path:
    """A folder that alone is searched for commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, command: str, code: str) -> None:
    file = folder / command
    file.write_text(f"#!{sys.executable}\n{code}")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def head(modality: str = "FLAIR"):
    """A bright egg in dim, noisy surroundings."""
    scan = simple(brain=False)
    air = np.random.default_rng(0).random(scan.voxels.shape, np.float32)
    return replace(scan, voxels=scan.voxels + air, modality=modality)


@pytest.mark.parametrize(
    ("name", "command", "code"),
    [
        ("synthstrip", "mri_synthstrip", SYNTHSTRIP),
        ("synthstrip", "nipreps-synthstrip", SYNTHSTRIP),
        ("hd-bet", "hd-bet", HD_BET),
    ],
)
@pytest.mark.parametrize("how", ["auto", "named"])
def test_the_mask_of_the_program_is_the_brain(path, name, command, code, how):
    install(path, command, code)
    scan = head()
    work = Brain(how=name if how == "named" else "auto")(Work.start(scan))
    np.testing.assert_array_equal(work.scan.brain, scan.voxels > 100)
    assert work.notes["brain"] == name


def test_t1w_needs_no_network_where_a_program_is(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepbet", None)
    install(path, "mri_synthstrip", SYNTHSTRIP)
    assert Brain()(Work.start(head("T1w"))).notes["brain"] == "synthstrip"


def test_a_missing_program_is_said_with_what_installs_it(path):
    with pytest.raises(UnavailableError, match=r"hd-bet: not installed .*pip install hd-bet"):
        Brain(how="hd-bet")(Work.start(head()))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no memory')", "egg: synthstrip failed with code 1 .no memory."),
        ("", "egg: synthstrip wrote no mask"),
        (
            "import sys, nibabel as nib, numpy as np\n"
            "nib.save(nib.Nifti1Image(np.ones((9, 9, 9), 'uint8'), np.eye(4)), sys.argv[4])",
            "the mask has shape .9, 9, 9., the scan",
        ),
        ("import time; time.sleep(60)", "synthstrip has not ended after 0.5 s"),
    ],
)
def test_a_program_that_fails_says_why(path, monkeypatch, code, message):
    monkeypatch.setattr(stripper, "MOST_SECONDS", 0.5 if "sleep" in code else 60)
    install(path, "mri_synthstrip", code)
    with pytest.raises(DataError, match=message):
        Brain()(Work.start(head()))


def test_a_command_that_is_no_program(path):
    install(path, "mri_synthstrip", "")
    (path / "mri_synthstrip").write_bytes(os.urandom(64))
    with pytest.raises(UnavailableError, match="egg: synthstrip cannot be started"):
        Brain()(Work.start(head()))
