"""The maps from which some protocols take their threshold."""

from pathlib import Path

from brainuad.cli.pairs import MAP, Pair, maps_in, pairs
from brainuad.evaluate.protocols import Protocol
from brainuad.types import UsageError


def validation_pairs(chosen: Protocol, maps: Path | None, truth: Path | None) -> list[Pair] | None:
    """Maps from which a protocol takes its threshold; None where it takes none.

    Raises:
        UsageError: they are missing, or given without need.
        MissingError: no map in the folder, or a map without a truth.
    """
    if chosen.validation is None or maps is None:
        if maps is not None or truth is not None:
            raise UsageError(f"protocol {chosen.name}: {_unwanted(chosen)}")
        return None
    if truth is not None:
        return pairs(maps, truth)
    if chosen.validation == "lesion":
        raise UsageError(
            f"protocol {chosen.name}: needs the lesions of its validation scans; give "
            "--validation-truth FOLDER or TSV as well"
        )
    return [
        Pair(anomaly=path, lesion=None, region=None, subject=stem, kind="clean")
        for path in maps_in(maps)
        for stem in [path.name.removesuffix(MAP)]
    ]


def _unwanted(chosen: Protocol) -> str:
    if chosen.validation is None:
        return "takes no validation scans; leave --validation and --validation-truth out"
    return "--validation-truth is given without maps; give --validation FOLDER as well"
