from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainuad.config import build
from brainuad.train_settings import DEFAULT_STEPS, Plan, TrainSettings, arithmetic, plan
from brainuad.types import UsageError


def make(settings: TrainSettings, *, stage="a", shares=None, images=100) -> Plan:
    return plan(settings, stage, shares=shares or {}, images=images, precision="32")


@given(
    st.integers(1, 500), st.floats(0, 0.9), st.floats(0, 1), st.floats(1e-6, 1.0, exclude_min=True)
)
def test_the_learning_rate_rises_then_falls_and_stays_in_its_range(steps, warmup, final_lr, lr):
    stage = make(TrainSettings(steps=steps, warmup=warmup, final_lr=final_lr, lr=lr))
    rates = [stage.lr_at(step, 0.0) for step in range(steps)]
    peak = rates.index(max(rates))
    slack = 1e-12
    assert all(a <= b + slack for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b - slack for a, b in pairwise(rates[peak:]))
    assert min(rates) >= 0
    assert rates[0] > 0 or final_lr == 0
    assert max(rates) <= lr * (1 + slack)
    assert rates[-1] == pytest.approx(lr * final_lr, abs=1e-12)


@given(st.floats(1, 1e5), st.floats(0, 2))
def test_under_a_time_budget_time_takes_the_place_of_steps(seconds, share):
    stage = make(TrainSettings(time_budget=seconds))
    by_steps = make(TrainSettings(steps=1000))
    assert stage.steps is None
    done = stage.progress(7, share * seconds)
    assert done == pytest.approx(min(1.0, share))
    if 0.01 < done < 0.99:
        near = by_steps.lr_at(round(1000 * done) - 1, 0.0)
        assert stage.lr_at(7, share * seconds) == pytest.approx(near, abs=3e-4 * 0.02)


def test_the_earliest_end_counts():
    stage = make(TrainSettings(steps=10, time_budget=100.0))
    assert stage.progress(5, 1.0) == pytest.approx(0.5)
    assert stage.progress(5, 80.0) == pytest.approx(0.8)
    assert make(TrainSettings(epochs=2, batch_size=30)).steps == 6
    assert make(TrainSettings(epochs=2, batch_size=30, steps=5)).steps == 5
    assert make(TrainSettings()).steps == DEFAULT_STEPS


def test_values_by_stage():
    settings = build(
        TrainSettings,
        {"lr": {"a": 1, "b": 2}, "steps": {"a": 5, "b": 6}, "batch_size": {"a": 7, "b": 8}},
    )
    found = [make(settings, stage=stage) for stage in "ab"]
    assert [(p.lr, p.steps, p.batch_size) for p in found] == [(1.0, 5, 7), (2.0, 6, 8)]
    with pytest.raises(UsageError, match=r"training\.batch_size: has no value for stage 'c', only"):
        make(settings, stage="c")


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 10), min_size=1))
def test_the_stages_share_the_whole_budget(shares):
    settings = TrainSettings(time_budget=60.0)
    parts = {stage: make(settings, stage=stage, shares=shares).seconds or 0.0 for stage in shares}
    assert sum(parts.values()) == pytest.approx(60)
    for stage, share in shares.items():
        assert parts[stage] == pytest.approx(60 * share / sum(shares.values()))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"steps": -1}, r"^training\.steps: Input should be greater than 0, got -1; correct"),
        ({"steps": {"a": 0}}, r"^training\.steps\.a: Input should be greater than 0, got 0; "),
        ({"step": 10}, r"^training\.step: unknown setting; known: batch_size, betas, "),
        ({"betas": [0.9]}, r"^training\.betas\.1: has no value; give one$"),
        ({"warmup": 1.0}, r"^training\.warmup: Input should be less than 1"),
        ({"time_budget": "0s"}, r"^training\.time_budget: Input should be greater than 0, got"),
        ({"precision": "64"}, r"^training\.precision: Input should be 'auto', '32' or 'bf16'"),
    ],
)
def test_settings_out_of_range_are_named(data, words):
    with pytest.raises(UsageError, match=words):
        build(TrainSettings, data, where="training")


def test_a_budget_may_be_written_for_people():
    assert build(TrainSettings, {"time_budget": "9m"}).time_budget == pytest.approx(540)


@pytest.mark.parametrize(
    ("asked", "device", "meant"),
    [
        ("auto", "cuda", "bf16"),
        ("auto", "cpu", "32"),
        ("auto", "mps", "32"),
        ("32", "cuda", "32"),
        ("bf16", "cuda", "bf16"),
    ],
)
def test_arithmetic_that_nothing_is_said_about(asked, device, meant, caplog):
    assert arithmetic(asked, device) == meant
    assert not caplog.records


@pytest.mark.parametrize(
    ("capabilities", "slow"),
    [
        ({"avx2": True, "amx_bf16": False, "avx512_bf16": False}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, False),
        ({"bf16": True}, False),
        ({}, False),  # torch does not know
    ],
)
def test_a_cpu_that_emulates_bf16_is_said_to_be_slow(capabilities, slow, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert arithmetic("bf16", "cpu") == "bf16"
    assert ("ten times" in caplog.text) is slow
