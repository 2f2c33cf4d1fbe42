"""How a detector learns: its method from healthy scans, then what they show in its maps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from brainuad.config import to_dict
from brainuad.detector_config import DetectorConfig, new_method
from brainuad.joint import learned
from brainuad.manifest import hash_of, run_manifest
from brainuad.maps import normative_of
from brainuad.method import Method
from brainuad.normative import Normative
from brainuad.postprocess import Postprocess
from brainuad.store import Store
from brainuad.train import Trainer, TrainSettings, resolve_device


def fitted(
    config: DetectorConfig,
    store: Store,
    settings: TrainSettings,
    *,
    work: Path,
    device: str,
    progress: bool,
    **trainer: Any,
) -> tuple[Method, Normative | None, DetectorConfig]:
    """The method, fitted on every scan of the store, on the CPU; resumes in ``work``.

    Args:
        config: what to fit.
        store: healthy scans, prepared with the recipe of ``config``.
        settings: how to train.
        work: folder of checkpoints.
        device: where to train.
        progress: show bars.
        trainer: passed on to :class:`~brainuad.train.Trainer`.

    Returns:
        Method, what healthy people show at each place, and ``config`` with the provenance.
    """
    method = new_method(config, seed=settings.seed)
    trained = replace(config, postprocess=Postprocess(), normative=None, about="").to_dict()
    del trained["postprocess"]["relative"]  # came later; stopped fits of before go on
    minimise = Trainer(
        settings,
        folder=work,
        device=device,
        progress=progress,
        shares=method.stages_with(method.options),
        # Not the recipe itself: its checks change no voxel that is trained on.
        identity=hash_of([trained | {"recipe": config.recipe.hash}, store.subjects]),
        **trainer,
    )
    method.to(resolve_device(device))
    method.fit(store.batches(config.view), minimise=minimise)
    if config.half:  # so that what is compared with healthy people is what will be loaded
        method.restore(learned(method, None, half=True))
    normative = normative_of(
        method, store, config.normative, view=config.view, device=device, progress=progress
    )
    provenance = run_manifest(
        command="fit",
        config={"training": to_dict(settings), "steps": minimise.steps},
        seed=settings.seed,
        inputs={s: store.input_hash(s) for s in store.subjects},
    )
    return method.to("cpu").eval(), normative, replace(config, provenance=provenance)
