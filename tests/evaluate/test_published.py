"""Every published protocol against loops in plain words, on volumes with ties and odd scans."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics
from tests.evaluate import brute
from tests.evaluate.brute import cohort, dice, pooled_ap, pooled_dice

from brainuad.evaluate.case import Case
from brainuad.evaluate.protocol import Study
from brainuad.evaluate.protocols import PROTOCOLS, evaluate
from brainuad.evaluate.published import behrendt, disyre
from brainuad.evaluate.published.andi import yen_mask
from brainuad.evaluate.published.kascenas import without_small
from brainuad.evaluate.published.thor import stratum
from brainuad.evaluate.shelf import Shelf
from brainuad.evaluate.summary import Writer

VOLUME = (15, 14, 9)
TALL = (9, 8, 126)
ROUNDS = 20
FACES = [(0, 0, 0), *(s * e for s in (1, -1) for e in np.eye(3, dtype=int))]
LEVELS = pytest.mark.parametrize(
    ("levels", "exact"), [(8, 1e-9), (1000, 1e-3)], ids=["ties", "fine"]
)
"""Scores with many ties, each in a bin of its own, and scores finer than the bins of an AUPRC."""


def judged(protocol, cases, *, validation=None, seed=0):
    return evaluate(
        cases, thresholds={}, protocol=protocol, validation=validation, resamples=ROUNDS, seed=seed
    )


def numbers(protocol, cases, **options):
    found = judged(protocol, cases, **options)
    return {row.metric: row.value for row in found.rows}


def with_lesion(cases):
    return [case for case in cases if case.lesion.any()]


def healthy(cases):
    return [
        dataclasses.replace(c, subject="h" + c.subject, kind="clean", lesion=None) for c in cases
    ]


def renamed(cases):
    return [dataclasses.replace(c, subject="v" + c.subject) for c in cases]


# behrendt


@pytest.mark.parametrize("name", ["behrendt", "behrendt-paper"])
def test_behrendt_equals_the_loop(name):
    cases, others = cohort(VOLUME), renamed(cohort(VOLUME, seed=1))

    def prepared(case):
        inner = brute.eroded(case.region, 3)
        if name == "behrendt":
            return brute.cube_median(case.anomaly * inner, 5)
        return brute.cube_median(case.anomaly, 5) * inner

    maps, truths = [prepared(c) for c in others], [c.lesion for c in others]
    if name == "behrendt":
        threshold = brute.bisected(maps, truths)[1]
    else:
        tries = np.unique(np.concatenate([m.ravel() for m in maps]))
        threshold = max((pooled_dice(maps, truths, t), -t) for t in tries)[1] * -1
    dropped = 7 if name == "behrendt" else 6
    expected, own, precision = [], [], []
    for case in cases:
        anomaly = prepared(case)
        mask = brute.without_small(anomaly > np.float32(threshold), dropped)
        expected.append(dice(mask, case.lesion))
        if case.lesion.any():
            precision.append(brute.ap(anomaly, case.lesion))
            if name == "behrendt":
                own.append(brute.bisected([anomaly], [case.lesion])[0])
            else:
                tries = np.unique(anomaly)
                own.append(max(dice(anomaly > t, case.lesion) for t in tries))
    found = numbers(name, cases, validation=others)
    assert found["dice_at_validation"] == pytest.approx(np.nanmean(expected))
    assert found["auprc_subject"] == pytest.approx(np.mean(precision))
    assert found["dice_oracle_subject"] == pytest.approx(np.mean(own))
    assert 0 < found["dice_at_validation"] < 1
    everything = np.concatenate([c.lesion.ravel() for c in cases])
    assert found["prevalence"] == pytest.approx(everything.mean())


def test_behrendt_drops_an_empty_scan_only_where_nothing_is_marked():
    cases = cohort(VOLUME)
    lesion, empty = cases[0], cases[4]
    dead = dataclasses.replace(empty, anomaly=np.zeros(VOLUME, np.float32))
    marked = dataclasses.replace(empty, anomaly=empty.region.astype(np.float32))
    others = renamed(cohort(VOLUME, seed=1))
    alone = numbers("behrendt", [lesion], validation=others)["dice_at_validation"]
    assert alone > 0
    without = numbers("behrendt", [lesion, dead], validation=others)["dice_at_validation"]
    halved = numbers("behrendt", [lesion, marked], validation=others)["dice_at_validation"]
    assert without == pytest.approx(alone)
    assert halved == pytest.approx(alone / 2)


def test_behrendt_equals_the_published_numbers(golden):
    arrays = golden("volume_evaluation")
    brain = arrays["mask"] > 0

    def case(n):
        residual = np.abs(arrays[f"vol{n}_image"] - arrays[f"vol{n}_recon"])
        return Case(
            subject=f"vol{n}", kind="lesion", anomaly=residual, lesion=arrays[f"vol{n}_seg"] > 0,
            region=brain, spacing=(2.0, 2.0, 2.0),
        )  # fmt: skip

    found = judged("behrendt", [case(n) for n in (2, 3, 4)], validation=[case(0), case(1)])
    value = {row.metric: row.value for row in found.rows}
    assert value["dice_at_validation"] == pytest.approx(
        arrays["test_DicePerVolMean"].item(), abs=1e-6
    )
    assert value["auprc_subject"] == pytest.approx(np.mean(arrays["test_AUPRCPerVol"]), abs=1e-6)
    assert value["dice_oracle_subject"] == pytest.approx(
        np.mean(arrays["test_BestDicePerVol"]), abs=1e-6
    )
    chosen = [line["threshold"] for line in found.cases]
    assert chosen == pytest.approx([arrays["val_threshold"].item()] * 3, abs=1e-6)


@pytest.mark.parametrize(("size", "code", "paper"), [(6, 0, 0), (7, 0, 1), (8, 1, 1)])
def test_components_of_seven_voxels_divide_code_and_paper(size, code, paper):
    lesion = np.zeros(VOLUME, bool)
    lesion[1 : 1 + size, 7, 4] = True
    case = Case(subject="a", kind="lesion", anomaly=lesion.astype(np.float32), lesion=lesion,
                region=np.ones(VOLUME, bool), spacing=brute.SPACING)  # fmt: skip
    for steps, dice_there in ((behrendt.CODE_STEPS, code), (behrendt.PAPER_STEPS, paper)):
        plain = dataclasses.replace(steps, prepare=lambda anomaly, _: anomaly)
        writer = Writer(protocol="behrendt", seed=0, resamples=ROUNDS)
        study = Study(PROTOCOLS["behrendt"], writer, [case], validation=renamed([case]))
        found = {row.metric: row.value for row in behrendt.judge(study, plain).rows}
        assert found["dice_at_validation"] == dice_there


# Slices: itermask2, thor-atlas, anoddpm


def test_itermask2_equals_the_loop():
    cases = [  # of different scales, and with values outside the brain
        dataclasses.replace(c, anomaly=((c.anomaly + ~c.region * 0.5) * n + 1).astype(np.float32))
        for n, c in enumerate(cohort(TALL, levels=32, power=6))
    ]
    curves = []
    for case in with_lesion(cases):
        sizes = {k: int(case.lesion[..., k].sum()) for k in range(70, 90)}
        k = max(sizes, key=lambda k: (sizes[k], -k))
        scores = case.anomaly[..., k].astype(float)
        scores = (scores - scores.min()) / ((scores.max() - scores.min()) or 1)
        scores = scores * case.region[..., k]
        curves.append([dice(scores > t / 10_000, case.lesion[..., k]) for t in range(100)])
    found = numbers("itermask2", cases)
    assert found["dice_oracle_slices"] == pytest.approx(np.mean(curves, 0).max())
    assert found["dice_oracle_subject"] == pytest.approx(np.max(curves, 1).mean())
    assert found["dice_oracle_subject"] > found["dice_oracle_slices"] > 0
    lines = {line["subject"]: line for line in judged("itermask2", cases).cases}
    assert lines["sub-4"]["left_out"] == "no lesion in slices 70 to 89"


def strokes():
    """One slice of many pixels each, with lesions at the ends of the strata."""
    rng = np.random.default_rng(0)
    for number, pixels in enumerate((0, 3, 4, 71, 72, 72, 570, 571, 900)):
        lesion = np.zeros((40, 40), bool)
        lesion.reshape(-1)[:pixels] = True
        score = rng.integers(0, 60, (40, 40)) + 40 * lesion * (number != 5)  # one is missed
        yield Case(
            subject=f"sub-{number}", kind="lesion", anomaly=(score[..., None] / 100).astype("f4"),
            lesion=lesion[..., None], region=np.ones((40, 40, 1), bool), spacing=brute.SPACING,
        )  # fmt: skip


def test_thor_equals_the_loop():
    cases = list(strokes())
    strata = {"small": cases[2:4], "medium": cases[4:7], "large": cases[7:]}
    found = numbers("thor-atlas", cases)

    def best(parts):
        return max(
            pooled_dice([c.anomaly for c in parts], [c.lesion for c in parts], t)
            for t in np.linspace(0, 1, 101)
        )

    weighted = 0
    for name, parts in strata.items():
        assert found[f"dice_oracle_pooled[lesion={name}]"] == pytest.approx(best(parts))
        weighted += len(parts) / 7 * best(parts)
    assert found["dice_oracle_pooled"] == pytest.approx(best(cases[2:]))
    assert found["dice_oracle_strata_mean"] == pytest.approx(weighted)
    assert [stratum(n) for n in (3, 4, 71, 72, 570, 571)] == [
        None, "small", "small", "medium", "medium", "large"]  # fmt: skip


def test_thor_takes_slice_95_of_a_volume():
    cases = cohort(TALL)
    flat = [
        dataclasses.replace(
            c, anomaly=c.anomaly[..., 95:96], lesion=c.lesion[..., 95:96],
            region=c.region[..., 95:96],
        )
        for c in cases
    ]  # fmt: skip
    assert numbers("thor-atlas", cases) == numbers("thor-atlas", flat)


def test_anoddpm_equals_the_loop():
    cases = cohort(VOLUME)
    expected = [
        dice(case.anomaly[..., k] > 0.5, case.lesion[..., k])
        for case in cases
        for k in range(VOLUME[2])
        if case.lesion[..., k].any()
    ]
    assert numbers("anoddpm", cases)["dice_at_0.5"] == pytest.approx(np.mean(expected))
    edge = [dataclasses.replace(cases[0], anomaly=cases[0].region * np.float32(0.5))]
    assert numbers("anoddpm", edge)["dice_at_0.5"] == 0


# Pooled: kascenas, meissen, disyre-upd, medianomaly


def best_of(maps, truths, thresholds):
    """Best pooled Dice, and the lowest threshold that reaches it."""
    found = [pooled_dice(maps, truths, t) for t in thresholds]
    best = int(np.argmax(found))
    return found[best], thresholds[best]


def components_dice(maps, truths, threshold, largest=20):
    masks = [brute.without_small(m.astype(float) > threshold, largest) for m in maps]
    both = sum(2 * (m & t).sum() for m, t in zip(masks, truths, strict=True))
    return both / sum(m.sum() + t.sum() for m, t in zip(masks, truths, strict=True))


@LEVELS
def test_kascenas_equals_the_loop(levels, exact):
    cases = cohort(VOLUME, levels=levels)
    maps, truths = [], []
    for case in cases:
        used = [k for k in range(VOLUME[2]) if case.region[..., k].any()]
        used = slice(used[0], used[-1] + 1)
        inner = case.anomaly * brute.foreground(case.region)
        maps.append(brute.slice_median(inner[..., used], 5))
        truths.append(case.lesion[..., used])
    best, threshold = best_of(maps, truths, [k / 1000 for k in range(1000)])
    found = numbers("kascenas", cases)
    assert found["dice_oracle_pooled"] == pytest.approx(best)
    cleaned = components_dice(maps, truths, threshold)
    assert found["dice_oracle_pooled_components"] == pytest.approx(cleaned)
    assert found["auprc_pooled"] == pytest.approx(pooled_ap(maps, truths), rel=exact)


@LEVELS
@pytest.mark.parametrize(("first", "stop", "suffix"), [(15, 125, ""), (84, 88, "[slices=84-87]")])
def test_meissen_equals_the_loop(first, stop, suffix, levels, exact):
    cases = cohort(TALL, levels=levels)
    maps = [c.anomaly[..., first:stop] for c in cases]
    truths = [c.lesion[..., first:stop] for c in cases]
    ends = min(m.min() for m in maps), max(m.max() for m in maps)
    best, threshold = best_of(maps, truths, np.linspace(float(ends[0]), float(ends[1]), 100))
    found = numbers("meissen", cases)
    assert found[f"dice_oracle_pooled{suffix}"] == pytest.approx(best)
    assert found[f"dice_oracle_pooled_components{suffix}"] == pytest.approx(
        components_dice(maps, truths, threshold)
    )
    assert found[f"auprc_pooled{suffix}"] == pytest.approx(pooled_ap(maps, truths), rel=exact)


@pytest.mark.parametrize(("size", "kept"), [(20, 0), (21, 1)])
def test_components_of_twenty_voxels_go(size, kept):
    lesion = np.zeros((5, 5, 25), bool)
    lesion[2, 2, :size] = True
    study = Study(PROTOCOLS["meissen"], Writer(protocol="meissen", seed=0, resamples=ROUNDS), [])
    with Shelf() as shelf:
        shelf.put("a", lesion.astype(np.float32), lesion)
        (row,) = without_small(shelf, 0.5, study)
    assert row.value == kept


@LEVELS
@pytest.mark.parametrize("shape", [VOLUME, (26, 24, 18)])
def test_disyre_equals_the_loop_over_what_was_drawn(shape, levels, exact):
    cases = cohort(shape, levels=levels)
    drawn = [disyre.sampled(case, 3) for case in cases]
    maps, truths = [d[0] for d in drawn], [d[1] for d in drawn]
    assert {m.size for m in maps} == {min(10_000, int(np.prod(shape)))}
    grid = np.linspace(0, float(max(m.max() for m in maps)), 200)
    found = numbers("disyre-upd", cases, seed=3)
    assert found["dice_oracle_pooled"] == pytest.approx(best_of(maps, truths, grid)[0])
    assert found["auprc_pooled"] == pytest.approx(pooled_ap(maps, truths), rel=exact)


def test_disyre_draws_every_voxel_at_most_once_and_anew_for_each_seed_and_subject():
    shape = (30, 30, 20)
    number = np.arange(18_000, dtype=np.float32).reshape(shape)
    case = dataclasses.replace(
        cohort(shape)[0], anomaly=number, lesion=number % 3 == 0, region=np.ones(shape, bool)
    )
    scores, lesion = disyre.sampled(case, 0)
    assert len(set(scores.tolist())) == 10_000
    np.testing.assert_array_equal(lesion, scores % 3 == 0)
    assert 0.3 < lesion.mean() < 0.37
    for other in (disyre.sampled(case, 1),
                  disyre.sampled(dataclasses.replace(case, subject="x"), 0)):  # fmt: skip
        assert 0.4 < np.isin(other[0], scores).mean() < 0.7
    np.testing.assert_array_equal(disyre.sampled(case, 0)[0], scores)


def test_medianomaly_equals_the_loop():
    cases = [*cohort(VOLUME), *healthy(cohort(VOLUME, seed=4)[:2])]
    maps, truths, score, ill = [], [], [], []
    for case in cases:
        for k in range(VOLUME[2]):
            if case.region[..., k].any():
                empty = np.zeros(VOLUME[:2], bool)
                truth = empty if case.lesion is None else case.lesion[..., k]
                maps.append(case.anomaly[..., k])
                truths.append(truth)
                score.append(case.anomaly[..., k].astype(float).mean())
                ill.append(truth.any())
    tries = [-1.0, *np.unique(np.concatenate([m.ravel() for m in maps]))]
    found = numbers("medianomaly", cases)
    assert found["dice_oracle_pooled"] == pytest.approx(best_of(maps, truths, tries)[0])
    assert found["auprc_pooled"] == pytest.approx(pooled_ap(maps, truths))
    assert found["slice_auroc"] == pytest.approx(metrics.roc_auc_score(ill, score))
    assert found["slice_auprc"] == pytest.approx(metrics.average_precision_score(ill, score))


# Volumes: uad-imag, andi


def test_uad_imag_equals_the_loop():
    cases, others = cohort(VOLUME), healthy(cohort(VOLUME, seed=2))
    maps = [brute.cube_median(c.anomaly, 4) for c in with_lesion(cases)]
    truths = [c.lesion for c in with_lesion(cases)]
    tries = np.unique(np.concatenate([m.ravel() for m in maps]))
    means = [np.mean([dice(m > t, g) for m, g in zip(maps, truths, strict=True)]) for t in tries]
    found = numbers("uad-imag", cases, validation=others)
    assert found["dice_oracle_scans"] == pytest.approx(max(means))
    scaled = [(m - m.min()) / ((m.max() - m.min()) or 1) for m in maps]
    assert found["auprc_pooled"] == pytest.approx(pooled_ap(scaled, truths))
    brain = np.concatenate([brute.cube_median(c.anomaly, 4)[c.region] for c in others])
    threshold = min(t for t in np.unique(brain) if np.mean(brain > t) <= 0.01)
    expected = np.mean([dice(m > threshold, g) for m, g in zip(maps, truths, strict=True)])
    assert found["dice_at_fpr_0.01"] == pytest.approx(expected)
    assert 0 < found["dice_at_fpr_0.01"] <= found["dice_oracle_scans"]


def test_andi_equals_the_loop():
    cases = cohort(VOLUME, levels=32)
    curves, automatic, maps, truths = [], [], [], []
    for case in with_lesion(cases):
        anomaly = brute.cube_median(case.anomaly, 5)
        curves.append([dice(anomaly > k / 1000, case.lesion) for k in range(10, 301)])
        mask = anomaly > (brute.yen(anomaly) if anomaly.any() else 1)
        grown = brute.neighbours(mask, FACES, mirrored=False).any(-1)
        automatic.append(dice(grown, case.lesion))
        maps.append(anomaly)
        truths.append(case.lesion)
    found = numbers("andi", cases)
    assert found["dice_oracle_scans"] == pytest.approx(np.mean(curves, 0).max())
    assert found["dice_yen"] == pytest.approx(np.mean(automatic))
    assert found["auprc_pooled"] == pytest.approx(pooled_ap(maps, truths))
    assert min(found.values()) > 0


def test_yens_threshold_of_a_map_of_a_real_scans_size():
    """The one highest voxel of four million is lost to single precision: no warning for it."""
    counts = np.zeros(256, int)
    counts[1:100] = np.random.default_rng(19).multinomial(1_333_333, np.full(99, 1 / 99))
    counts[0], counts[255] = 2_666_666, 1
    anomaly = np.repeat(np.arange(256) / 255, counts).reshape(200, 200, 100).astype(np.float32)
    found, threshold = yen_mask(anomaly), brute.yen(anomaly)
    strict, generous = anomaly > threshold + 0.006, anomaly > threshold - 0.006
    assert strict.any()
    assert not (strict & ~found).any()
    assert not (found & ~brute.neighbours(generous, FACES, mirrored=False).any(-1)).any()
