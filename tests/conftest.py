"""Fixtures shared by all tests: where real scans and golden numbers are, and one thread each."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

# A busy machine must not fail a test, and two runs must judge the same examples.
hypothesis.settings.register_profile("brainuad", deadline=None, derandomize=True)
hypothesis.settings.load_profile("brainuad")


def _folder(variable: str, default: Path) -> Path:
    given = os.environ.get(variable)
    return Path(given).expanduser() if given else default


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C works in tests and in programs they start, even where a shell in the background
    started pytest with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _threads() -> Iterator[None]:
    """One thread per test process: workers run side by side, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("BRAINUAD_TEST_THREADS", "1")))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder that holds ``data``, ``benchmarks`` and the rest of the real material."""
    folder = _folder("BRAINUAD_DATA", ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no real scans: {folder}/data is not a folder (set BRAINUAD_DATA)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """``golden(name)``: the arrays of the golden file ``name``.npz."""
    folder = _folder("BRAINUAD_GOLDEN", ROOT / "tests" / "golden")

    def load(name: str) -> dict[str, np.ndarray]:
        path = folder / f"{name}.npz"
        if not path.is_file():
            pytest.fail(f"{path}: golden file missing (set BRAINUAD_GOLDEN)")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    return load


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
