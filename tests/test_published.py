"""Orders of published weights, checked on weights whose rows say what they are."""

import torch

from brainuad.published import import_madad_unet, import_unet, split_heads_last


def test_rows_grouped_by_head_come_out_grouped_by_kind():
    kinds, heads, size = 3, 2, 4
    rows = torch.tensor(
        [[h, k, c] for h in range(heads) for k in range(kinds) for c in range(size)]
    )
    ours = split_heads_last(rows, heads)
    wanted = [[h, k, c] for k in range(kinds) for h in range(heads) for c in range(size)]
    assert ours.tolist() == wanted


def test_pointwise_convolutions_become_matrices():
    state = {
        "middle_block.1.qkv.weight": torch.ones(12, 4, 1),
        "middle_block.1.norm.bias": torch.ones(4),
    }
    ours = import_unet(state)
    assert ours["middle.1.qkv.weight"].shape == (12, 4)
    assert ours["middle.1.norm.bias"].shape == (4,)


def test_the_mask_head_changes_sign_and_its_norm_does_not():
    state = {
        "mt_out.0.weight": torch.ones(4),
        "mt_out.1.weight": torch.ones(1, 4, 3, 3),
        "mt_out.1.bias": torch.ones(1),
    }
    ours = import_madad_unet(state, heads=2)
    assert (ours["mask.0.weight"] == 1).all()
    assert (ours["mask.1.weight"] == -1).all()
    assert (ours["mask.1.bias"] == -1).all()
