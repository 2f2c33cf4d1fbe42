"""Files of a training stage: a checkpoint on the way, weights and a mark at the end.

Everything is written whole or not at all, and nothing is unpickled. No random state is kept: the
streams of a step follow from its number.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from brainuad.manifest import atomic_path, file_errors, plain, write_bytes, write_json
from brainuad.types import AccessError, DataError, UsageError

_DAMAGE = (
    OSError,  # what torch makes of a file that was cut short
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
)


class StageFiles:
    """Files of one stage in the folder of a training.

    Args:
        folder: of the training.
        stage: name of the stage.
        identity: what the result depends on; files of another identity are refused.
    """

    def __init__(self, folder: Path, stage: str, identity: Mapping[str, Any]):
        self.checkpoint = folder / f"{stage}.ckpt"
        self.weights = folder / f"{stage}.safetensors"
        self.done = folder / f"{stage}.json"
        self.identity = plain(identity)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint in the place of the one before.

        Args:
            state: tensors, numbers and words, nested in dictionaries and lists.
        """
        whole = {"identity": json.dumps(self.identity), **state}
        with atomic_path(self.checkpoint) as temporary, temporary.open("wb") as file:
            torch.save(whole, file)

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None.

        Raises:
            UsageError: it belongs to a training with other settings.
            DataError: it is damaged.
        """
        if not self.checkpoint.exists():
            return None
        try:
            with file_errors(self.checkpoint):
                state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            identity = json.loads(state.pop("identity"))
        except AccessError:
            raise
        except _DAMAGE as error:
            raise _damaged(self.checkpoint, error) from error
        self._check(self.checkpoint, identity)
        return state

    def finish(self, weights: Mapping[str, Tensor], summary: Mapping[str, Any]) -> None:
        """Write the final weights, then the mark that the stage is done; drop the checkpoint."""
        # Copies, because safetensors refuses tensors that share memory.
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in weights.items()}
        write_bytes(self.weights, safetensors.torch.save(tensors))
        write_json(self.done, {**summary, "identity": self.identity})
        self.checkpoint.unlink(missing_ok=True)

    def steps(self) -> int:
        """Steps of a stage that is done."""
        return int(json.loads(self.done.read_text())["steps"])

    def finished(self) -> dict[str, Tensor] | None:
        """The final weights, or None when the stage is not done.

        Raises:
            UsageError: they belong to a training with other settings.
            DataError: they are damaged.
        """
        if not self.done.exists():
            return None
        try:
            with file_errors(self.weights):
                self._check(self.done, json.loads(self.done.read_text())["identity"])
                return safetensors.torch.load(self.weights.read_bytes())
        except (UsageError, AccessError):
            raise
        except _DAMAGE as error:
            raise _damaged(self.done, error) from error

    def _check(self, path: Path, found: Mapping[str, Any]) -> None:
        names = sorted(found.keys() | self.identity.keys())
        different = [name for name in names if found.get(name) != self.identity.get(name)]
        if different:
            said = ", ".join(
                f"{name} was {found.get(name)} and is {self.identity.get(name)}"
                for name in different
            )
            raise UsageError(
                f"{path}: is of another training ({said}); "
                "use the same settings and scans, or another folder"
            )


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged ({error}); delete it to train this stage again")
