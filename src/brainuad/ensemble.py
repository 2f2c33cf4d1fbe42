"""Detectors joined to one, whose map is the weighted sum of theirs."""

from collections.abc import Mapping

from brainuad.detector import Detector
from brainuad.detector_config import joint_config
from brainuad.joint import Joint, Member
from brainuad.types import UsageError


def ensemble(
    detectors: Mapping[str, Detector], weights: Mapping[str, float] | None = None
) -> Detector:
    """One detector of several fitted ones; it needs a calibration of its own.

    The map is the sum of the members' maps, each after its comparison with healthy people and times
    its weight; members must take scans prepared by one recipe. The healthy counterpart comes from
    the first member that has one.

    Args:
        detectors: by name.
        weights: of some or all of them; 1 for the others.

    Raises:
        UsageError: fewer than two detectors, unlike recipes, a weight of none of them or not above
            0, a name with a slash.
    """
    given = dict(weights or {})
    if unknown := sorted(set(given) - set(detectors)):
        raise UsageError(
            f"ensemble: weight for {unknown[0]}, which is none of {', '.join(detectors)}; mend it"
        )
    if odd := [name for name in detectors if "/" in name]:
        raise UsageError(f"ensemble: {odd[0]!r} is no name of a member; leave out the /")
    members = {
        name: Member(
            method=detector.method,
            view=detector.config.view,
            weight=given.get(name, 1.0),
            options=detector.config.normative,
            normative=detector.normative,
        )
        for name, detector in detectors.items()
    }
    config = joint_config({n: (d.config, members[n].weight) for n, d in detectors.items()})
    return Detector(config, Joint(members).eval(), name="ensemble")
