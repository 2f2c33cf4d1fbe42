"""Published weights in our layout: what their names are here, and where their order differs."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def split_heads_last(rows: Tensor, heads: int) -> Tensor:
    """Rows of a query-key-value layer ordered by head, then q/k/v -> by q/k/v, then head."""
    return rows.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)


UNET_NAMES = (
    ("time_embed.", "time."),
    ("label_emb.", "condition."),
    ("input_blocks.", "down."),
    ("middle_block.", "middle."),
    ("output_blocks.", "up."),
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "inject."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "skip."),
    ("proj_out.", "out."),
    (".op.", "."),
    ("mt_out.", "mask."),
)


KL_NAMES = (
    ("conv_in.", "stem."),
    ("encoder.down.", "encoder.levels."),
    ("decoder.up.", "decoder.levels."),
    (".block.", "."),
    ("mid.block_1.", "middle.0."),
    ("mid.attn_1.", "middle.1."),
    ("mid.block_2.", "middle.2."),
    ("nin_shortcut.", "skip."),
    ("proj_out.", "out."),
    ("norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("quant_conv.", "quant."),
)


def renamed(name: str, names: Sequence[tuple[str, str]]) -> str:
    """The name after every replacement, in order."""
    for theirs, ours in names:
        name = name.replace(theirs, ours)
    return name


def import_unet(state: Mapping[str, Tensor], *, heads: int = 0) -> dict[str, Tensor]:
    """State of a :class:`UNet` from weights in the naming of the published U-Nets.

    Args:
        state: names and tensors as published (input_blocks, middle_block, output_blocks ...).
        heads: number of heads where q, k and v are stored head by head (MAD-AD); 0 where they
            are stored one after the other (DDPM, pDDPM, mDDPM, cDDPM).
    """
    ours = {}
    for theirs, tensor in state.items():
        name = renamed(theirs, UNET_NAMES)
        grouped = split_heads_last(tensor, heads) if heads and ".qkv." in name else tensor
        pointwise = (".qkv." in name or ".1.out." in name) and tensor.ndim > 1
        ours[name] = grouped.flatten(1) if pointwise else grouped
    return ours


def import_madad_unet(state: Mapping[str, Tensor], *, heads: int) -> dict[str, Tensor]:
    """State of a :class:`UNet` from published MAD-AD weights.

    The published mask head says "clean"; ours says "noisy", so its last layer changes sign.
    """
    ours = import_unet(state, heads=heads)
    return {k: -v if k.startswith("mask.1.") else v for k, v in ours.items()}


def resizing(name: str) -> str:
    """Name of a convolution between levels: theirs belongs to one level, ours stands beside it."""
    down = re.sub(r"encoder\.levels\.(\d+)\.downsample\.", r"encoder.resize.\1.", name)
    up = re.match(r"decoder\.levels\.(\d+)\.upsample\.(.*)", down)
    return f"decoder.resize.{int(up[1]) - 1}.{up[2]}" if up else down


def import_kl_autoencoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of an :class:`~brainuad.autoencoder.Autoencoder` from weights named as published."""
    ours = {resizing(renamed(name, KL_NAMES)): tensor for name, tensor in state.items()}
    for name in [n for n in ours if ".middle.1.q." in n]:
        parts = [ours.pop(name.replace(".q.", f".{part}.")) for part in "qkv"]
        ours[name.replace(".q.", ".qkv.")] = torch.cat(parts).flatten(1 if "weight" in name else 0)
    for name in [n for n in ours if n.endswith("middle.1.out.weight")]:
        ours[name] = ours[name].flatten(1)
    return ours
