"""Public data sets: recipes that say where they are, what they hold and how they lie on disk."""

from brainuad.datasets.catalogue import Dataset, dataset, names

__all__ = ["Dataset", "dataset", "names"]
