import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from tests.training import Dots, denoising, tiny_net
from torch import nn

from brainuad import checkpoint
from brainuad.train import Trainer, TrainSettings, resolve_device
from brainuad.types import DataError, SpaceError, UnavailableError, UsageError

STEPS = 23
BASE = {"steps": STEPS, "batch_size": 6, "lr": 1e-2, "log_every": 5}


def train(folder: Path, *, loss=None, net=None, trainer=None, **changes) -> nn.Module:
    net = net or tiny_net()
    settings = TrainSettings(**{**BASE, **changes})
    minimise = Trainer(settings, folder=folder, progress=False, **(trainer or {}))
    minimise("stage", net, loss or denoising(net), Dots())
    return net


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weight(net: nn.Module, name: str) -> torch.Tensor:
    return net.state_dict()[name]


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> nn.Module:
    return train(tmp_path_factory.mktemp("unbroken"))


class StopError(Exception):
    """Stands for whatever ends a process in the middle of a step."""


def stopping_loss(net: nn.Module, call: int, what):
    """The usual loss, but ``what`` happens in the given call."""
    usual, calls = denoising(net), []

    def loss(batch, rng):
        calls.append(1)
        if len(calls) == call:
            what()
        return usual(batch, rng)

    return loss


def stop() -> None:
    raise StopError("in the middle of a step")


# What training does


def test_training_equals_a_plain_loop(tmp_path):
    """Oracle: AdamW, warm-up and cosine, clipping and averaging written out in plain torch."""
    net, mine = tiny_net(0.0), tiny_net(0.0)
    seen = []

    def loss(batch, rng):
        per_item = denoising(net)(batch, rng)
        seen.append((batch, rng.seeds))
        return per_item

    train(tmp_path, net=net, loss=loss, warmup=0.25, final_lr=0.1, clip=0.05, ema_decay=0.5)
    weights = [p for p in mine.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
    means = [w.detach().clone() for w in weights]
    for step, (batch, seeds) in enumerate(seen):
        rng = batch.rng(0, "stage", step)
        assert rng.seeds == seeds
        share = (step + 1) / STEPS
        fall = 0.5 * (1 + math.cos(math.pi * (share - 0.25) / 0.75))
        factor = share / 0.25 if share < 0.25 else 0.1 + 0.9 * fall
        optimiser.param_groups[0]["lr"] = 1e-2 * factor
        optimiser.zero_grad()
        denoising(mine)(batch, rng).mean().backward()
        nn.utils.clip_grad_norm_(weights, 0.05)
        optimiser.step()
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        for mean, weight in zip(means, weights, strict=True):
            mean.mul_(decay).add_(weight.detach(), alpha=1 - decay)
    assert len(seen) == STEPS
    trained = [p for p in net.parameters() if p.requires_grad]
    for mean, weight in zip(means, trained, strict=True):
        torch.testing.assert_close(weight.detach(), mean, rtol=1e-4, atol=1e-6)


def test_the_loss_falls_and_the_module_is_ready_for_use(tmp_path):
    net = train(tmp_path, steps=150, log_every=30)
    entries = log_of(tmp_path)
    assert [entry["step"] for entry in entries] == [30, 60, 90, 120, 150]
    assert entries[-1]["loss"] < 0.7 * entries[0]["loss"]
    assert all(entry["grad_norm"] > 0 and entry["stage"] == "stage" for entry in entries)
    assert not any(module.training for module in net.modules())


def test_frozen_parameters_stay(tmp_path, unbroken):
    assert torch.equal(weight(unbroken, "1.weight"), weight(tiny_net(), "1.weight"))
    assert not torch.equal(weight(unbroken, "0.weight"), weight(tiny_net(), "0.weight"))


def test_the_global_random_state_and_threads_are_left_alone(tmp_path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(tmp_path, num_threads=2, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_seed_and_nothing_else_chooses_the_result(tmp_path, unbroken):
    torch.manual_seed(99)
    assert same_bits(train(tmp_path / "a", log_every=3, checkpoint_steps=2), unbroken)
    assert not same_bits(train(tmp_path / "b", seed=1), unbroken)


def test_a_callback_sees_averaged_weights_and_changes_nothing(tmp_path, unbroken):
    seen = []

    def on_step(stage, step, module):
        torch.rand(step)
        seen.append((stage, step, module.training, weight(module, "0.weight").clone()))

    trainer = {"on_step": on_step, "on_step_every": STEPS}
    net = train(tmp_path / "a", trainer=trainer)
    assert same_bits(net, unbroken)
    ((stage, step, training, seen_weight),) = seen
    assert (stage, step, training) == ("stage", STEPS, False)
    assert torch.equal(seen_weight, weight(net, "0.weight"))
    trainer["on_step_every"] = 7
    assert same_bits(train(tmp_path / "b", trainer=trainer), unbroken)
    assert [step for _, step, *_ in seen[1:]] == [7, 14, 21]


# Stopping and going on


@pytest.mark.parametrize("calls", [(1,), (4,), (9, 3), (23,)])
def test_a_stopped_training_ends_with_the_bits_of_an_unbroken_one(tmp_path, unbroken, calls):
    for call in calls:
        net = tiny_net()
        with pytest.raises(StopError, match="in the middle"):
            train(tmp_path, net=net, loss=stopping_loss(net, call, stop), checkpoint_steps=2)
    assert same_bits(train(tmp_path, checkpoint_steps=5), unbroken)
    assert [entry["step"] for entry in log_of(tmp_path)] == [5, 10, 15, 20, 23]


@pytest.mark.parametrize("call", [1, 12, STEPS])
def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(tmp_path, unbroken, call):
    net = tiny_net()
    loss = stopping_loss(net, call, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(tmp_path, net=net, loss=loss)
    state = torch.load(tmp_path / "stage.ckpt", weights_only=True)
    assert state["step"] == call
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "log.jsonl") == ["stage.ckpt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert same_bits(train(tmp_path), unbroken)


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    net = tiny_net()

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(tmp_path, net=net, loss=stopping_loss(net, 3, twice))
    assert not (tmp_path / "stage.ckpt").exists()


def test_training_in_another_thread_works_without_signals(tmp_path, unbroken):
    found = []
    thread = threading.Thread(target=lambda: found.append(train(tmp_path, num_threads=1)))
    thread.start()
    thread.join()
    assert same_bits(found[0], unbroken)


KILLED = """
import os, random, signal, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.test_train import stopping_loss, train
from tests.training import tiny_net

def kill_soon():
    me = os.getpid()
    threading.Timer(0.02 * random.random(), os.kill, (me, signal.SIGKILL)).start()

def train_and_die(folder):
    net = tiny_net()
    mortal = stopping_loss(net, random.randint(2, 25), kill_soon)

    def slow(batch, rng):
        time.sleep(0.003)
        return mortal(batch, rng)

    train(folder, net=net, loss=slow, steps=160, checkpoint_steps=1)
    os._exit(0)

folder = Path(sys.argv[1])
for _ in range(3):
    child = os.fork()
    if child == 0:
        train_and_die(folder)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "ended before it was killed"
assert not (folder / "stage.json").exists()
train(folder, steps=160)
"""


def test_three_kills_at_random_leave_the_bits_as_they_were(tmp_path):
    wanted = train(tmp_path / "unbroken", steps=160)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path / "killed")],
        check=True,
        timeout=100,
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    weights = [(tmp_path / n / "stage.safetensors").read_bytes() for n in ("unbroken", "killed")]
    assert weights[0] == weights[1]
    assert same_bits(train(tmp_path / "killed", steps=160), wanted)


def never(batch, rng):
    raise AssertionError("a finished stage was trained again")


def test_a_finished_stage_is_loaded(tmp_path, unbroken):
    train(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "log.jsonl",
        "stage.json",
        "stage.safetensors",
    ]
    net = train(tmp_path, loss=never)
    assert same_bits(net, unbroken)
    assert not net.training


@pytest.mark.parametrize(
    ("changes", "trainer", "words"),
    [
        ({"lr": 0.02}, {}, r"lr was 0\.01 and is 0\.02\); use the same settings and scans, or"),
        ({"steps": 24}, {}, "steps was 23 and is 24"),
        ({"seed": 3, "batch_size": 5}, {}, "batch_size was 6 and is 5, seed was 0 and is 3"),
        ({}, {"identity": "other options"}, "made for was  and is other options"),
    ],
)
def test_a_folder_of_another_training_is_refused(tmp_path, changes, trainer, words):
    net = tiny_net()
    with pytest.raises(StopError, match="step"):
        train(tmp_path, net=net, loss=stopping_loss(net, 5, stop), checkpoint_steps=2)
    for name in ("stage.ckpt", "stage.json"):
        with pytest.raises(UsageError, match=f"{name}: is of another training .*{words}"):
            train(tmp_path, trainer=trainer, loss=never, **changes)
        train(tmp_path)


def test_another_network_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(UsageError, match=r"weights was .* and is"):
        train(tmp_path, net=nn.Sequential(nn.Conv2d(1, 1, 3)))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None])
def test_a_damaged_checkpoint_is_an_error_that_says_so(tmp_path, damage):
    net = tiny_net()
    with pytest.raises(StopError, match="step"):
        train(tmp_path, net=net, loss=stopping_loss(net, 5, stop), checkpoint_steps=2)
    file = tmp_path / "stage.ckpt"
    file.write_bytes(file.read_bytes()[:-300] if damage is None else damage)
    with pytest.raises(DataError, match=r"stage\.ckpt: damaged .*; delete it to train this stage"):
        train(tmp_path)


@pytest.mark.parametrize("name", ["stage.safetensors", "stage.json"])
def test_damaged_final_files_are_an_error_that_says_so(tmp_path, name):
    train(tmp_path, steps=2)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(DataError, match=r"stage\.json: damaged .*; delete it to train this stage"):
        train(tmp_path, steps=2)


def test_no_checkpoint_can_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"identity": "{}", "module": Evil()}, tmp_path / "stage.ckpt")
    with pytest.raises(DataError, match=r"stage\.ckpt: damaged"):
        train(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_an_error_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    net = tiny_net()
    with pytest.raises(StopError, match="step"):
        train(tmp_path, net=net, loss=stopping_loss(net, 5, stop), checkpoint_steps=2)
    before = (tmp_path / "stage.ckpt").read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(SpaceError, match=r"stage\.ckpt: no space left"):
        train(tmp_path, checkpoint_steps=2)
    assert (tmp_path / "stage.ckpt").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


# Ends


def count_steps(folder: Path) -> int:
    return json.loads((folder / "stage.json").read_text())["steps"]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"steps": None, "epochs": 2}, 6),  # 20 images in batches of 6: 3 steps an epoch
        ({"steps": 4, "epochs": 2}, 4),
        ({"steps": {"stage": 3, "other": 9}}, 3),
        ({"batch_size": 50, "steps": None, "epochs": 2}, 2),
        ({"time_budget": 60.0, "steps": 3}, 3),
    ],
)
def test_a_stage_ends_at_whichever_end_comes_first(tmp_path, changes, steps):
    train(tmp_path, **changes)
    assert count_steps(tmp_path) == steps


def test_a_time_budget_is_shared_and_kept_over_a_stop(tmp_path):
    shares = {"before": 3.0, "stage": 1.0}
    changes = {"steps": None, "time_budget": 6.0, "trainer": {"shares": shares}}
    net = tiny_net()
    loss = stopping_loss(net, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(tmp_path, net=net, loss=loss, **changes)
    used = torch.load(tmp_path / "stage.ckpt", weights_only=True)["elapsed"]
    train(tmp_path, **changes)
    seconds = json.loads((tmp_path / "stage.json").read_text())["seconds"]
    assert 0 < used < seconds
    # One step more than the budget at most, on a machine that may be busy.
    assert 1.5 <= seconds < 1.5 + 20
    entries = log_of(tmp_path)
    assert entries[-1]["lr"] < 0.5 * max(entry["lr"] for entry in entries)


def test_a_stage_without_share_or_value_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"time_budget: nothing says which share .*'stage' gets"):
        train(tmp_path, time_budget=9.0, trainer={"shares": {"other": 1.0}})
    with pytest.raises(UsageError, match=r"training\.lr: has no value for stage 'stage', only f"):
        train(tmp_path, lr={"other": 1e-3})


def test_settings_are_checked_however_they_were_made(tmp_path):
    with pytest.raises(UsageError, match=r"^training\.steps: Input should be greater than 0, got"):
        Trainer(TrainSettings(steps=-1), folder=tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_training_with_its_step(tmp_path, value):
    net = tiny_net()
    bad = []

    def loss(batch, rng):
        bad.append(1)
        return denoising(net)(batch, rng) * (value if len(bad) == 9 else 1)

    with pytest.raises(DataError, match="stage 'stage', step 8: the loss is not a number; lower"):
        train(tmp_path, net=net, loss=loss, checkpoint_steps=4)
    assert torch.load(tmp_path / "stage.ckpt", weights_only=True)["step"] == 8


def test_nothing_to_learn_from_is_an_error(tmp_path):
    minimise = Trainer(TrainSettings(), folder=tmp_path)
    with pytest.raises(DataError, match="stage 'stage': has no image to learn from"):
        minimise("stage", tiny_net(), never, Dots(0))


# Devices


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:-1", "", "tpu:0", "CPU"])
def test_names_of_no_device_are_refused(name):
    with pytest.raises(UsageError, match=f"device '{name}': unknown; choose cpu, cuda"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1"])
def test_a_device_that_is_not_there_is_never_replaced(tmp_path, name):
    with pytest.raises(UnavailableError, match=rf"device '{name}': this machine has \d+ .* dev"):
        Trainer(TrainSettings(), folder=tmp_path, device=name)


def test_devices_have_one_name():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_bf16_on_the_cpu_is_used_when_asked_for(tmp_path):
    dtypes = set()
    net = tiny_net(0.0)

    def loss(batch, rng):
        dtypes.add(net(batch.x).dtype)
        return denoising(net)(batch, rng)

    train(tmp_path, net=net, loss=loss, precision="bf16", steps=2)
    assert dtypes == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.gpu
def test_a_cuda_device_trains_resumes_and_finds_a_loss_that_is_no_number(tmp_path):
    trainer = {"device": "cuda"}
    net = tiny_net()
    loss = stopping_loss(net, 12, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(tmp_path / "a", net=net, loss=loss, trainer=trainer)
    resumed = train(tmp_path / "a", trainer=trainer)
    whole = train(tmp_path / "b", trainer=trainer)
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=1e-2, atol=1e-3)
    assert next(resumed.parameters()).device.type == "cuda"
    bad = tiny_net()
    calls = []

    def broken(batch, rng):
        calls.append(1)
        return denoising(bad)(batch, rng) * (math.nan if len(calls) == 3 else 1)

    with pytest.raises(DataError, match="step 2: the loss is not a number"):
        train(tmp_path / "c", net=bad, loss=broken, trainer=trainer)
