"""Paired differences against their definition; unpaired lists are refused with names."""

import itertools

import numpy as np
import pytest
from scipy import stats

from brainuad.evaluate.differences import compare
from brainuad.types import DataError

RNG = np.random.default_rng(5)
BASE = RNG.random(12)


def records(shift=0.0, order=None, clean=4):
    lesion = [
        {"subject": f"sub-{n:02d}", "kind": "lesion", "auprc": float(v + shift * (n % 5)),
         "dice_at_fpr_0.01": 0.5, "lesion_ml": 3.0, "fpr_at_fpr_0.01": 0.02}
        for n, v in enumerate(BASE)
    ]  # fmt: skip
    healthy = [
        {"subject": f"sub-{n:02d}", "kind": "clean", "auprc": float("nan"),
         "fpr_at_fpr_0.01": 0.01 * n + shift}
        for n in range(clean)
    ]  # fmt: skip
    found = lesion + healthy
    return [found[i] for i in order] if order is not None else found


def by_key(lines):
    return {(line.metric, line.kind, line.against): line for line in lines}


def test_a_difference_has_the_mean_interval_and_exact_p_value_of_its_pairs():
    found = by_key(compare(records(0.1), {"old": records()}, method="new", seed=0))
    line = found["auprc", "lesion", "old"]
    change = 0.1 * (np.arange(12) % 5)
    assert (line.method, line.n) == ("new", 12)
    assert line.value == pytest.approx(change.mean())
    assert line.low < line.value < line.high
    # every sign of every change that is not 0, by enumeration
    sizes = change[change > 0]
    sums = [np.dot(signs, sizes) for signs in itertools.product((-1, 1), repeat=sizes.size)]
    exact = np.mean(np.abs(sums) >= sizes.sum() - 1e-12)
    assert line.p == pytest.approx(exact, rel=0.5, abs=1e-3)
    theirs = stats.bootstrap((change,), np.mean, rng=np.random.default_rng(1)).confidence_interval
    assert line.low == pytest.approx(theirs.low, abs=0.1 * (theirs.high - theirs.low))


def test_healthy_scans_are_compared_on_their_own_numbers():
    found = by_key(compare(records(0.1), {"old": records()}, method="new", seed=0))
    assert found["fpr_at_fpr_0.01", "clean", "old"].value == pytest.approx(0.1)
    assert found["fpr_at_fpr_0.01", "clean", "old"].n == 4
    assert {key[:2] for key in found} == {
        ("auprc", "lesion"), ("dice_at_fpr_0.01", "lesion"), ("fpr_at_fpr_0.01", "clean"),
    }  # fmt: skip


def test_a_method_against_itself_differs_by_nothing_in_any_order():
    order = np.random.default_rng(0).permutation(16)
    for line in compare(records(), {"same": records(order=order)}, method="m", seed=0):
        assert (line.value, line.low, line.high, line.p, line.p_holm) == (0, 0, 0, 1, 1)


def test_holm_counts_the_methods():
    others = {"a": records(), "b": records(0.02), "c": records(0.3)}
    found = by_key(compare(records(0.1), others, method="m", seed=0))
    lines = [found["auprc", "lesion", name] for name in others]
    ranked = sorted(lines, key=lambda line: line.p)
    running = 0.0
    for left, line in zip((3, 2, 1), ranked, strict=True):
        running = max(running, min(1.0, left * line.p))
        assert line.p_holm == pytest.approx(running)


def test_swapping_the_methods_turns_the_sign():
    there = by_key(compare(records(0.1), {"b": records()}, method="a", seed=0))
    back = by_key(compare(records(), {"a": records(0.1)}, method="b", seed=0))
    one, two = there["auprc", "lesion", "b"], back["auprc", "lesion", "a"]
    assert one.value == pytest.approx(-two.value)
    assert one.p == pytest.approx(two.p)


def test_metrics_that_one_lacks_are_left_out():
    bare = [{k: v for k, v in r.items() if k != "auprc"} for r in records()]
    metrics = {line.metric for line in compare(records(), {"b": bare}, method="a", seed=0)}
    assert metrics == {"dice_at_fpr_0.01", "fpr_at_fpr_0.01"}


@pytest.mark.parametrize(
    ("own", "other", "match"),
    [
        (records()[1:], records(), r"only b has sub-00 \(lesion\); evaluate both on the same list"),
        (records(), records()[6:], r"only a has .*sub-04 \(lesion\) and 1 more;"),
        (records(clean=3), records(clean=4), r"only b has sub-03 \(clean\)"),
        (records(), [*records(), records()[0]], "b: sub-00 occurs twice"),
        (records(), [], "b: holds no case"),
        (records(), [{**records()[0], "auprc": ""}, *records()[1:]],
         "b: auprc is not a number for sub-00"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_paired_are_refused_with_names(own, other, match):
    with pytest.raises(DataError, match=match):
        compare(own, {"b": other}, method="a", seed=0)
