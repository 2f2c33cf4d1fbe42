import json
import logging
import time

import pytest
import torch

from brainuad.training_log import Clock, TrainingLog, Watch
from brainuad.types import DataError


def entry(step: int) -> dict[str, float]:
    return {"step": float(step), "loss": 0.25, "steps_per_second": 9.0}


def test_lines_that_will_come_again_are_dropped(tmp_path):
    for stage in ("a", "b"):
        log = TrainingLog(tmp_path, stage, progress=False)
        with log.running(0):
            for step in (10, 20, 30):
                log.write(0.1, **entry(step))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "b", "st')
    with TrainingLog(tmp_path, "b", progress=False).running(20):
        pass
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [(line["stage"], line["step"]) for line in lines]
    assert found == [("a", 10), ("a", 20), ("a", 30), ("b", 10), ("b", 20)]


@pytest.mark.parametrize(("terminal", "progress"), [("1", True), ("1", False), ("0", True)])
def test_a_bar_is_shown_on_terminals_only_and_when_asked_for(
    request, tmp_path, monkeypatch, terminal, progress
):
    capsys, caplog = (request.getfixturevalue(name) for name in ("capsys", "caplog"))
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    caplog.set_level(logging.INFO, logger="brainuad.train")
    log = TrainingLog(tmp_path, "denoise", progress=progress)
    with log.running(0):
        log.draw(0.3)
        log.write(0.5, **entry(10))
        log.write(0.9, **entry(20))
    shown = "denoise" in capsys.readouterr().err
    assert shown == (terminal == "1" and progress)
    # Without a bar one line at once, and the next only after a while.
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if shown else ["denoise: step 10, 50 %, loss 0.25"])


def test_the_clock_goes_on_where_it_was_and_rests_when_told():
    clock = Clock(100.0)
    with clock.stopped():
        time.sleep(0.3)
    begin = clock.elapsed
    time.sleep(0.02)
    assert 100 <= begin < 100.25
    assert clock.elapsed - begin >= 0.02


def test_reports_are_means_since_the_last_report():
    watch = Watch("a", 0, torch.device("cpu"))
    for step, loss in enumerate([1.0, 2.0, 6.0]):
        watch.see(torch.tensor(loss), step)
    assert watch.report(3, 1.5)["loss"] == pytest.approx(3)
    watch.see(torch.tensor(5.0), 3)
    report = watch.report(4, 2.0)
    assert (report["step"], report["seconds"]) == (4, 2.0)
    assert report["loss"] == pytest.approx(5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_loss_that_is_no_number_is_named(bad):
    # A device that is not the CPU is not asked before a check.
    watch = Watch("a", 0, torch.device("cpu"))
    watch.device = torch.device("meta")
    for step, loss in enumerate([1.0, 2.0, bad, 1.0, float("nan")]):
        watch.total = torch.zeros(())
        watch.see(torch.tensor(loss), step)
    with pytest.raises(DataError, match="stage 'a', step 2: the loss is not a number; lower"):
        watch.check()
