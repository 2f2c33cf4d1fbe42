"""Small volumes and rows that the tests of pages and pictures look at."""

from typing import Any

import numpy as np

from brainuad.evaluate.case import Row
from brainuad.report.planes import Volumes

SHAPE = (20, 24, 18)


def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
    away = np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))
    return (away**2).sum(0) <= radius**2


def made(spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), **fields: Any) -> Volumes:
    brain = ball((9.5, 11.5, 8.5), 7.5)
    scan = np.where(brain, 0.6, 0.0).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    usual: dict[str, Any] = {"scan": scan, "affine": affine, "brain": brain}
    return Volumes(**{**usual, **fields})


def full(**fields: Any) -> Volumes:
    lesion = ball((13, 11, 9), 2.5)
    anomaly = (ball((13, 11, 9), 3.0) * 0.9).astype(np.float32)
    everything: dict[str, Any] = {
        "healthy": made().scan, "anomaly": anomaly, "mask": anomaly > 0.3, "lesion": lesion,
        "threshold": 0.3,
    }  # fmt: skip
    return made(**{**everything, **fields})


def row(method: str = "dae", metric: str = "AUPRC", value: float = 0.5, **fields: Any) -> Row:
    usual: dict[str, Any] = {
        "dataset": "phantom", "preset": "small", "seed": 0, "low": value - 0.1, "high": value + 0.1,
        "n": 12, "protocol": "brainuad", "threshold_source": "",
    }  # fmt: skip
    return Row(**{**usual, "method": method, "metric": metric, "value": value, **fields})
