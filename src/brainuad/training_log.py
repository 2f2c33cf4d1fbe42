"""What a training says while it runs: a bar for people, lines of JSON for programs."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from brainuad.manifest import file_errors, plain, write_text
from brainuad.types import DataError

LOG = logging.getLogger("brainuad.train")
_QUIET_SECONDS = 15.0
_BAR_SECONDS = 0.1


class TrainingLog:
    """Reports of one stage: ``log.jsonl`` in the folder, and a bar or now and then a log line.

    Args:
        folder: of the training.
        stage: name of the stage.
        progress: show a bar where there is a terminal.
    """

    def __init__(self, folder: Path, stage: str, *, progress: bool):
        self.path = folder / "log.jsonl"
        self.stage = stage
        console = Console(stderr=True)
        self.bar = _bar(console) if progress and console.is_terminal else None
        self.task = TaskID(0)
        self.said = self.drawn = -float("inf")

    @contextmanager
    def running(self, step: int) -> Iterator[None]:
        """Show the bar; lines of this stage behind ``step`` are dropped, they will come again."""
        self._forget_after(step)
        if self.bar is None:
            yield
            return
        self.task = self.bar.add_task(self.stage, total=1.0, loss=float("nan"), rate=0.0)
        with self.bar:
            yield

    def _forget_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if self._stays(line, step)]
        if kept != lines:
            write_text(self.path, "".join(line + "\n" for line in kept))

    def _stays(self, line: str, step: int) -> bool:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return False  # cut short when the training was killed
        return entry["stage"] != self.stage or entry["step"] <= step

    def draw(self, share: float) -> None:
        """Move the bar to the share of the stage that is over."""
        now = time.monotonic()
        if self.bar is not None and now - self.drawn > _BAR_SECONDS:
            self.drawn = now
            self.bar.update(self.task, completed=share)

    def write(self, share: float, **entry: int | float) -> None:
        """Add a line: step, loss, lr, grad_norm, seconds, steps_per_second."""
        line = json.dumps(plain({"stage": self.stage, **entry}, finite=True))
        with file_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self.bar is not None:
            loss, rate = entry["loss"], entry["steps_per_second"]
            self.bar.update(self.task, completed=share, loss=loss, rate=rate)
        elif time.monotonic() - self.said > _QUIET_SECONDS:
            self.said = time.monotonic()
            LOG.info(
                "%s: step %d, %.0f %%, loss %.4g",
                self.stage,
                entry["step"],
                100 * share,
                entry["loss"],
            )


class Clock:
    """Seconds that a stage has been training, over all its runs and without pauses."""

    def __init__(self, elapsed: float = 0.0):
        self.start = time.monotonic() - elapsed

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.start

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Seconds in this block do not count."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.start += time.monotonic() - begin


class Watch:
    """The losses since the last report; refuses a loss that is not a number.

    On an accelerator it waits for the numbers only when a report or a check asks for them.
    """

    def __init__(self, stage: str, step: int, device: torch.device):
        self.stage, self.device = stage, device
        self.bad = torch.full((), math.inf, device=device)
        self.norm, self.lr = torch.zeros(()), 0.0
        self._start(step)

    def _start(self, step: int) -> None:
        self.first, self.since = step, time.monotonic()
        self.total = torch.zeros((), device=self.device)

    def see(self, loss: Tensor, step: int) -> None:
        """Take note of the loss of a step."""
        loss = loss.detach()
        self.total += loss
        self.bad = torch.where(torch.isfinite(loss), self.bad, self.bad.clamp(max=step))
        if self.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Raise DataError when a loss since the start was not a number."""
        if torch.isfinite(self.bad):
            raise DataError(
                f"stage {self.stage!r}, step {int(self.bad)}: the loss is not a number; "
                "lower training.lr, or look for images with extreme values"
            )

    def report(self, step: int, elapsed: float) -> dict[str, int | float]:
        """Entry for the log: means since the last report, and the state of the last step."""
        self.check()
        count = max(step - self.first, 1)
        entry = {
            "step": step,
            "loss": float(self.total) / count,
            "lr": self.lr,
            "grad_norm": float(self.norm),
            "seconds": elapsed,
            "steps_per_second": count / max(time.monotonic() - self.since, 1e-9),
        }
        self._start(step)
        return entry


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  loss {task.fields[loss]:.4g}"),
        TextColumn("{task.fields[rate]:.1f} steps/s"),
        TimeRemainingColumn(),
        console=console,
    )
