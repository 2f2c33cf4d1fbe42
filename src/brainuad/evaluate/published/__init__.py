"""Evaluations of publications, each with its own rules; for comparison with their tables.

Every module describes one publication's protocols and computes them with the building blocks of
:mod:`brainuad.evaluate.thresholds` and :mod:`brainuad.evaluate.steps`.
"""

from brainuad.evaluate.published import (
    andi,
    anoddpm,
    behrendt,
    disyre,
    itermask2,
    kascenas,
    mad_ad,
    medianomaly,
    meissen,
    thor,
    uad_imag,
)

PUBLISHED = (
    mad_ad.MAX,
    mad_ad.GLOBAL,
    behrendt.CODE,
    behrendt.PAPER,
    itermask2.PROTOCOL,
    thor.PROTOCOL,
    kascenas.PROTOCOL,
    meissen.PROTOCOL,
    uad_imag.PROTOCOL,
    disyre.PROTOCOL,
    andi.PROTOCOL,
    medianomaly.PROTOCOL,
    anoddpm.PROTOCOL,
)
"""All of them, in the order in which they are listed."""
