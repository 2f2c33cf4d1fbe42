"""The optimiser loop, on Lightning Fabric: the only module that knows Lightning.

A step depends on its number, the settings and the weights alone: its batch is a place in a seeded
permutation, its random streams are named after it. So a training that was killed and goes on from
a checkpoint ends with the bits of one that was not.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from brainuad.checkpoint import StageFiles
from brainuad.config import build, to_dict
from brainuad.feed import Feed
from brainuad.interrupt import stopping
from brainuad.manifest import hash_of
from brainuad.method import Batch, Batches, Loss
from brainuad.rng import seed_of
from brainuad.train_settings import Plan, TrainSettings, arithmetic, plan
from brainuad.training_log import Clock, TrainingLog, Watch
from brainuad.types import DataError, UnavailableError, UsageError

__all__ = ["OnStep", "TrainSettings", "Trainer", "resolve_device"]

OnStep = Callable[[str, int, nn.Module], None]
"""(stage, steps done, module with its averaged weights) -> nothing."""

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed"}


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that is asked for, never another one: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UsageError: not the name of a device.
        UnavailableError: this machine does not have it.
    """
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda", "mps") or not (number.isdigit() or not number):
        raise UsageError(f"device {str(device)!r}: unknown; choose cpu, cuda, cuda:NUMBER or mps")
    counts = {
        "cpu": lambda: 1,
        "cuda": torch.cuda.device_count,
        "mps": lambda: int(torch.backends.mps.is_available()),
    }
    have = counts[kind]()
    if int(number or 0) >= have:
        raise UnavailableError(
            f"device {str(device)!r}: this machine has {have} {kind} devices; "
            "choose another one, cpu is always there"
        )
    return torch.device("cpu") if kind == "cpu" else torch.device(kind, int(number or 0))


class Trainer:
    """Lowers losses by changing modules; what a method is given as ``minimise``.

    Args:
        settings: how to train.
        folder: where checkpoints, final weights and ``log.jsonl`` go. A stage that is done there
            is loaded, one that was stopped goes on.
        device: where to train.
        progress: show a bar where there is a terminal.
        shares: of the time budget, by stage (``Method.stages_with``).
        identity: whatever else the result depends on, such as a hash of the method's options;
            a folder of another identity is refused.
        on_step: called every ``on_step_every`` steps; sees the averaged weights; its time does
            not count and nothing it draws at random changes the training.
    """

    def __init__(
        self,
        settings: TrainSettings,
        *,
        folder: Path | str,
        device: str | torch.device = "cpu",
        progress: bool = True,
        shares: Mapping[str, float] | None = None,
        identity: str = "",
        on_step: OnStep | None = None,
        on_step_every: int = 100,
    ):
        self.settings = build(TrainSettings, to_dict(settings), where="training")
        self.folder = Path(folder)
        self.device = resolve_device(device)
        self.progress = progress
        self.shares = dict(shares or {})
        self.identity = identity
        self.on_step = on_step
        self.on_step_every = on_step_every
        self.steps: dict[str, int] = {}  # of each stage that is done

    def __call__(self, stage: str, module: nn.Module, loss: Loss, batches: Batches) -> None:
        """Train a module, or load it when this stage is done in the folder already.

        The module ends in evaluation mode, on the device, with the averaged weights.

        Raises:
            DataError: the loss is not a number, or a file in the folder is damaged.
            UsageError: the folder belongs to a training with other settings.
            KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
        """
        chosen = self.plan(stage, batches)
        files = StageFiles(self.folder, stage, self._identity(chosen, module, batches))
        weights = files.finished()
        if weights is None:
            devices = [self.device] if self.device.type == "cuda" else []
            with _threads(self.settings.num_threads), torch.random.fork_rng(devices=devices):
                _Run(self, stage, chosen, files, module).train(loss, batches)
        else:
            module.to(self.device).load_state_dict(weights)
        module.eval()
        self.steps[stage] = files.steps()

    def plan(self, stage: str, batches: Batches) -> Plan:
        """What the settings mean for a stage on these images."""
        if not len(batches):
            raise DataError(f"stage {stage!r}: has no image to learn from; give some")
        precision = arithmetic(self.settings.precision, self.device.type)
        return plan(
            self.settings, stage, shares=self.shares, images=len(batches), precision=precision
        )

    def _identity(self, chosen: Plan, module: nn.Module, batches: Batches) -> dict[str, Any]:
        shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        ends = batches.get([0, len(batches) - 1]).keys
        return {
            **to_dict(chosen),
            "weights": hash_of(shapes),
            "images": hash_of([len(batches), ends]),
            "made for": self.identity,
        }


class _Run:
    """One stage from its first step, or from its checkpoint, to its end."""

    def __init__(
        self, trainer: Trainer, stage: str, chosen: Plan, files: StageFiles, module: nn.Module
    ):
        self.trainer, self.stage, self.plan, self.files = trainer, stage, chosen, files
        self.module = module.to(trainer.device).train()
        self.average = AveragedModel(module, multi_avg_fn=_averaging(chosen.ema_decay))
        self.fabric = _fabric(trainer.device, chosen.precision)
        self.optimiser = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=chosen.lr,
            betas=chosen.betas,
            weight_decay=chosen.weight_decay,
            fused=trainer.device.type == "cuda",
        )
        self.step = 0
        self.clock = Clock()
        self._resume()
        self.log = TrainingLog(trainer.folder, stage, progress=trainer.progress)
        self.saved = (self.step, self.clock.elapsed)
        self.watch = Watch(stage, self.step, trainer.device)

    def _resume(self) -> None:
        state = self.files.load()
        if state is None:
            return
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.clock = Clock(state["elapsed"])

    def train(self, loss: Loss, batches: Batches) -> None:
        """Step until the plan is fulfilled, then leave the averaged weights in the module."""
        _, optimiser = self.fabric.setup(self.module, self.optimiser)
        self.trainer.folder.mkdir(parents=True, exist_ok=True)
        feed = Feed(batches, size=self.plan.batch_size, seed=self.plan.seed, stage=self.stage)
        with stopping(self.save) as stop_if_asked, self.log.running(self.step), feed:
            while self.plan.progress(self.step, self.clock.elapsed) < 1:
                self._one_step(loss, feed.take(self.step), optimiser)
                self._after_step()
                stop_if_asked()
            self._finish()

    def _finish(self) -> None:
        self.watch.check()
        self.module.load_state_dict(self.average.module.state_dict())
        summary = {"steps": self.step, "seconds": self.clock.elapsed}
        self.files.finish(self.module.state_dict(), summary)

    def _one_step(self, loss: Loss, batch: Batch, optimiser: Any) -> None:
        batch = batch.to(self.fabric.device)
        seed = self.plan.seed
        _seed_dropout(seed_of(seed, self.stage, self.step, "dropout"), self.fabric.device)
        lr = self.plan.lr_at(self.step, self.clock.elapsed)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        with self.fabric.autocast():
            per_item = loss(batch, batch.rng(seed, self.stage, self.step))
        value = per_item.float().mean()
        self.watch.see(value, self.step)
        self.fabric.backward(value)
        norm = self._clip(optimiser)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        self.average.update_parameters(self.module)
        self.watch.norm, self.watch.lr = norm, lr
        self.step += 1

    def _clip(self, optimiser: Any) -> Tensor:
        # An infinite limit changes nothing and still tells the length.
        limit = math.inf if self.plan.clip is None else self.plan.clip
        norm = self.fabric.clip_gradients(
            self.module, optimiser, max_norm=limit, error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def _after_step(self) -> None:
        share = self.plan.progress(self.step, self.clock.elapsed)
        self.log.draw(share)
        if self.step % self.trainer.settings.log_every == 0 or share == 1:
            self.log.write(share, **self.watch.report(self.step, self.clock.elapsed))
        if self._checkpoint_is_due():
            self.save()
        if self.trainer.on_step is not None and self.step % self.trainer.on_step_every == 0:
            self._call_back(self.trainer.on_step)

    def _checkpoint_is_due(self) -> bool:
        step, elapsed = self.saved
        settings = self.trainer.settings
        late = self.clock.elapsed - elapsed >= settings.checkpoint_seconds
        return late or self.step - step >= (settings.checkpoint_steps or math.inf)

    def save(self) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        self.watch.check()
        elapsed = self.clock.elapsed
        parts = {"module": self.module, "average": self.average, "optimiser": self.optimiser}
        states = {name: part.state_dict() for name, part in parts.items()}
        self.files.save({**states, "step": self.step, "elapsed": elapsed})
        self.saved = (self.step, elapsed)

    def _call_back(self, on_step: OnStep) -> None:
        with self.clock.stopped():
            own = {name: value.clone() for name, value in self.module.state_dict().items()}
            self.module.load_state_dict(self.average.module.state_dict())
            self.module.eval()
            on_step(self.stage, self.step, self.module)
            self.module.load_state_dict(own)
            self.module.train()


def _fabric(device: torch.device, precision: str) -> Fabric:
    # Fabric announces its choices; ours are in the log and the manifest.
    for name in ("lightning.fabric", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return Fabric(
        accelerator=device.type,
        devices=[device.index] if device.type == "cuda" else 1,
        precision=_PRECISION[precision],  # type: ignore[arg-type]
        # One process, also inside a SLURM job that would let it look for others.
        plugins=[LightningEnvironment()],
    )


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the global generators, the only ones that dropout knows; callers put them back."""
    # Not torch.manual_seed: it takes longer than a small step, for devices that are not in use.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _averaging(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """Exponential averaging that forgets the first, useless weights fast."""

    def average(means: Sequence[Tensor], values: Sequence[Tensor], count: Any) -> None:
        n = int(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(means, values, weight)  # type: ignore[attr-defined]

    return average


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
