"""A source knows when what it would read has changed."""

from dataclasses import replace

from tests.prepare.heads import person

from brainuad.nifti import write_volume
from brainuad.read.source import Source


def test_the_fingerprint_depends_on_content_and_on_what_is_asked(tmp_path):
    scan, _ = person()
    first = tmp_path / "a_T1w.nii"
    write_volume(first, scan.voxels, like=scan, kind="image")
    source = Source(path=first)
    before = source.fingerprint()
    assert before == Source(path=first).fingerprint()
    (tmp_path / "b_T1w.nii").write_bytes(first.read_bytes())
    assert replace(source, path=tmp_path / "b_T1w.nii").fingerprint() == before
    changes = [{"subject": "x"}, {"series": "3"}, {"modality": "T1w"}, {"brain": first}]
    assert len({replace(source, **c).fingerprint() for c in changes} | {before}) == 5
    first.write_bytes(first.read_bytes() + b"\0")
    assert source.fingerprint() != before


def test_a_source_reads_with_its_own_modality_first(tmp_path):
    scan, _ = person()
    write_volume(tmp_path / "a.nii", scan.voxels, like=scan, kind="image")
    assert Source(path=tmp_path / "a.nii").read("FLAIR").modality == "FLAIR"
    assert Source(path=tmp_path / "a.nii", modality="T2w").read("FLAIR").modality == "T2w"
