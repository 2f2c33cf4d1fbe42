"""Preparation: any scan in, the same tensor everywhere, and the way back."""

from brainuad.prepare.grid import MNI_2MM, Grid
from brainuad.prepare.pipeline import Prepared, prepare_alike, prepare_scan
from brainuad.prepare.recipe import RECIPES, Recipe, recipe
from brainuad.prepare.save import save_prepared

__all__ = [
    "MNI_2MM",
    "RECIPES",
    "Grid",
    "Prepared",
    "Recipe",
    "prepare_alike",
    "prepare_scan",
    "recipe",
    "save_prepared",
]
