"""How sure a number is: resampling of subjects, never of voxels or slices."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from brainuad.rng import seed_of
from brainuad.types import DataError

RESAMPLES = 2000
"""Bootstrap samples behind an interval; 10,000 for published tables."""
LEAST_FOR_BCA = 10
"""Fewer subjects than this get a percentile interval: the acceleration is not estimable."""

Weighted = Callable[[np.ndarray], np.ndarray]
"""How often each subject was drawn, (samples, subjects) -> one value per sample."""


Numbers = Sequence[float | int] | np.ndarray
"""One number per subject."""


class Interval(NamedTuple):
    """A value with its confidence interval, and how that was made."""

    value: float
    low: float
    high: float
    kind: str
    """``BCa``, ``percentile`` (few subjects, or BCa undefined) or ``none`` (one subject)."""


class Difference(NamedTuple):
    """Mean paired difference first - second, with its interval and permutation p-value."""

    value: float
    low: float
    high: float
    p: float
    n: int


def bootstrap(
    statistic: Weighted,
    n: int,
    *,
    seed: int,
    words: Sequence[object] = (),
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Confidence interval by drawing subjects with replacement.

    Bias-corrected and accelerated (Efron 1987, J Am Stat Assoc 82:171); plain percentiles below 10
    subjects, or where every sample gives the same value.

    Args:
        statistic: value for given numbers of draws of each subject.
        n: number of subjects.
        seed: seed of the run.
        words: name of the number, so that every number has its own draws.
        resamples: bootstrap samples.
        level: coverage of the interval.
    """
    if n < 1:
        raise DataError("bootstrap: no subjects; give at least one")
    value = float(statistic(np.ones((1, n)))[0])
    if n == 1 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), "none")
    kind = "BCa" if n >= LEAST_FOR_BCA else "percentile"
    result = _scipy_bootstrap(
        statistic, n, kind, n_resamples=resamples, confidence_level=level,
        rng=np.random.Generator(np.random.PCG64(seed_of(seed, "bootstrap", *words))),
    )  # fmt: skip
    low, high = (float(v) for v in result.confidence_interval)
    if not (np.isfinite(low) and np.isfinite(high)):
        kind = "percentile"
        tail = (1 - level) / 2
        low, high = np.nanquantile(result.bootstrap_distribution, [tail, 1 - tail]).tolist()
    return Interval(value, low, high, kind)


def _scipy_bootstrap(statistic: Weighted, n: int, kind: str, **options: Any) -> Any:
    def of_draws(draws: np.ndarray, axis: int = -1) -> np.ndarray:
        shape = draws.shape[:-1]
        return statistic(_weights(draws.reshape(-1, draws.shape[-1]), n)).reshape(shape)

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # a degenerate distribution; the caller looks for NaN
        return stats.bootstrap(
            (np.arange(n),), of_draws, method=kind, vectorized=True, batch=100, **options
        )


def _weights(draws: np.ndarray, n: int) -> np.ndarray:
    """How often each of n subjects occurs in each row of draws, as floats (rows, n)."""
    rows = np.arange(len(draws))[:, None] * n
    return np.bincount((rows + draws).ravel(), minlength=len(draws) * n).reshape(-1, n) * 1.0


def mean_interval(values: Numbers, *, seed: int, **options: Any) -> Interval:
    """Mean over subjects with its interval; options as for :func:`bootstrap`."""
    numbers = np.asarray(values, float)
    return bootstrap(lambda w: w @ numbers / w.sum(1), numbers.size, seed=seed, **options)


def ratio_interval(
    parts: Numbers,
    wholes: Numbers,
    *,
    seed: int,
    **options: Any,
) -> Interval:
    """Sum of parts over sum of wholes with its interval, for pooled shares such as Dice."""
    top, bottom = np.asarray(parts, float), np.asarray(wholes, float)

    def pooled(w: np.ndarray) -> np.ndarray:
        total = w @ bottom
        return np.divide(w @ top, total, out=np.full(len(w), np.nan), where=total > 0)

    return bootstrap(pooled, top.size, seed=seed, **options)


def counts_interval(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray],
    lesion: np.ndarray,
    other: np.ndarray,
    *,
    seed: int,
    **options: Any,
) -> Interval:
    """A metric of pooled counts, with its interval over subjects.

    Args:
        metric: takes lesion and other counts (samples, groups), such as voxel.ap_of_counts.
        lesion: (subjects, groups) counts of lesion voxels, groups ascending in score.
        other: likewise, of other voxels.
        seed: seed of the run.
        options: as for :func:`bootstrap`.
    """
    one, two = np.asarray(lesion, float), np.asarray(other, float)  # once, not for every sample
    return bootstrap(lambda w: metric(w @ one, w @ two), len(one), seed=seed, **options)


def paired_difference(
    first: Numbers,
    second: Numbers,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    rounds: int = 10_000,
) -> Difference:
    """Mean difference of two methods on the same subjects, in the same order."""
    one, two = np.asarray(first, float), np.asarray(second, float)
    if one.shape != two.shape:
        raise DataError(
            f"paired difference: {one.size} against {two.size} subjects; "
            "give both methods the same subjects in the same order"
        )
    change = one - two
    value, low, high, _ = mean_interval(
        change, seed=seed, words=("difference",), resamples=resamples
    )
    return Difference(
        value, low, high, permutation_test(change, seed=seed, rounds=rounds), one.size
    )


def permutation_test(change: Numbers, *, seed: int, rounds: int = 10_000) -> float:
    """Two-sided p-value of a mean difference: the sign of every subject's difference is random.

    Exact over all signs where there are at most ``rounds`` of them, else a random draw that
    counts the observed one too.
    """
    numbers = np.asarray(change, float)
    if not numbers.size:
        raise DataError("permutation test: no subjects; give at least one")
    if numbers.size == 1 or not numbers.any():
        return 1.0
    result = stats.permutation_test(
        (numbers,),
        lambda x, axis=-1: np.mean(x, axis=axis),
        permutation_type="samples",
        n_resamples=rounds,
        vectorized=True,
        rng=np.random.Generator(np.random.PCG64(seed_of(seed, "permutation"))),
    )
    return float(min(1.0, result.pvalue))


def holm(p_values: Numbers) -> list[float]:
    """p-values corrected for their number (Holm 1979, Scand J Stat 6:65), in the given order."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(steps, 1.0)
    return result.tolist()
