"""Scan-wise metrics against scikit-learn and a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from brainuad.evaluate.scan import scan_auprc, scan_auroc, sensitivity_at, sensitivity_of_counts
from brainuad.types import DataError


@st.composite
def rankings(draw):
    n = draw(st.integers(2, 40))
    scores = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)), float)
    ill = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    ill[:2] = True, False
    return scores, ill


@given(test=rankings())
@settings(max_examples=60, deadline=None)
def test_ranking_equals_scikit_learn(test):
    scores, ill = test
    assert scan_auroc(scores, ill) == pytest.approx(metrics.roc_auc_score(ill, scores))
    assert scan_auprc(scores, ill) == pytest.approx(metrics.average_precision_score(ill, scores))


@given(test=rankings(), specificity=st.sampled_from([0.5, 0.9, 0.95, 1.0]))
@settings(max_examples=60, deadline=None)
def test_sensitivity_equals_trying_every_cut(test, specificity):
    scores, ill = test
    cuts = [*np.unique(scores), np.inf]
    kept = [c for c in cuts if np.mean(scores[~ill] < c) >= specificity - 1e-9]
    expected = max(np.mean(scores[ill] >= c) for c in kept)
    assert sensitivity_at(scores, ill, specificity=specificity) == pytest.approx(expected)


def test_a_kind_that_is_missing():
    with pytest.raises(DataError, match="no healthy scan"):
        scan_auroc(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(DataError, match="no pathological scan"):
        scan_auprc(np.arange(3.0), np.zeros(3, bool))
    assert np.isnan(sensitivity_of_counts(np.zeros(3), np.ones(3)))
    assert np.isnan(sensitivity_of_counts(np.ones(3), np.zeros(3)))
