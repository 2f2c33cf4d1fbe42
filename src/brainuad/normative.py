"""What healthy people show: a detector's map in healthy standard deviations.

A restored image differs from a healthy scan as well, and always at the same places: folds, borders
of the ventricles, vessels. A normative model of the residual knows these places, so that what
remains is unusual there. Places are those of one grid where scans are aligned, or those of the
healthy slices most like the slice in question.
"""

from collections.abc import Mapping

from torch import Tensor

from brainuad.normative_model import PREFIX, Normative, NormativeOptions, Normer
from brainuad.normative_nearest import NearestNormative, NearestNormer
from brainuad.normative_place import PlaceNormative, PlaceNormer
from brainuad.types import DataError

__all__ = ["PREFIX", "Normative", "NormativeOptions", "Normer", "normer", "split_state"]


def normer(options: NormativeOptions, shape: tuple[int, ...]) -> Normer:
    """Who makes the model that the options ask for, of prepared scans of this shape."""
    if options.nearest is not None:
        return NearestNormer(options)
    return PlaceNormer(options, shape)


def kind(options: NormativeOptions) -> type[Normative]:
    """The kind of model that the options ask for."""
    return PlaceNormative if options.nearest is None else NearestNormative


def split_state(
    state: Mapping[str, Tensor], options: NormativeOptions | None
) -> tuple[dict[str, Tensor], Normative | None]:
    """The method's own weights, and the normative model that was kept among them.

    Raises:
        DataError: settings ask for a model, and there is none, or the other way round.
    """
    own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    arrays = {n.removeprefix(PREFIX): v.numpy() for n, v in state.items() if n not in own}
    if set(arrays) != (set(kind(options).arrays(options)) if options else set()):
        raise DataError(
            f"normative: the settings {'ask for a model' if options else 'have none'}, the weights "
            f"hold {sorted(arrays) or 'none'}; fit the detector again"
        )
    return own, kind(options)(options=options, **arrays) if options else None
