"""Importance weights: each variant at, inside and outside its bounds."""

import math

import pytest
import torch

from prorl_nemo.algorithms.importance import (
    compute_importance_weights,
    compute_out_of_bound_rate,
    compute_sequence_mean_ratio,
    sum_log_ratio_over_sequence,
    truncate_icepop,
    truncate_sequences,
    truncate_tis,
)

RATIOS = torch.tensor([[0.25, 0.5, 1.0, 2.0, 4.0]], dtype=torch.float64)
LOG_RATIO = RATIOS.log()
ALL = torch.ones(1, 5, dtype=torch.bool)
BOUNDS = {"ratio_min": 0.5, "ratio_max": 2.0}


def close(actual, expected):
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype))


def test_untruncated_weights_are_the_ratios():
    torch.testing.assert_close(compute_importance_weights(LOG_RATIO, token_mask=ALL), RATIOS)


def test_tis_clamps():
    close(truncate_tis(RATIOS, ratio_max=2.0), [[0.25, 0.5, 1, 2, 2]])
    close(truncate_tis(RATIOS, **BOUNDS), [[0.5, 0.5, 1, 2, 2]])


def test_icepop_drops_tokens_beyond_the_bounds_and_keeps_those_on_them():
    close(truncate_icepop(RATIOS, **BOUNDS), [[0, 0.5, 1, 2, 0]])


def test_seq_mask_tis_drops_sequences_by_geometric_mean():
    # Row 0: (4 * 1/4 * 1)^(1/3) = 1, kept with its raw ratios. Row 1: (4 * 4 * 1)^(1/3) = 2.52.
    # Row 2: the same ratios as row 1 with the second 4 masked: (4 * 1)^(1/2) = 2, on the bound.
    ratios = torch.tensor([[4.0, 0.25, 1.0], [4.0, 4.0, 1.0], [4.0, 4.0, 1.0]]).double()
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 0, 1]]).bool()
    weights = truncate_sequences(
        compute_importance_weights(ratios.log(), token_mask=mask),
        mean_ratio=compute_sequence_mean_ratio(ratios.log(), token_mask=mask),
        ratio_max=2.0 + 1e-12,
        ratio_min=0.5,
    )
    close(weights, [[4, 0.25, 1], [0, 0, 0], [4, 0, 1]])


def test_sequence_mean_ratio_of_an_empty_sequence_is_one():
    log_ratio = torch.full((1, 3), torch.nan)
    ratio = compute_sequence_mean_ratio(log_ratio, token_mask=torch.zeros(1, 3))
    assert ratio.tolist() == [1.0]


def test_sum_over_sequence_gives_every_token_the_product():
    # 2 * 3 = 6 over the valid tokens, then truncated to 5 by TIS.
    log_ratio = torch.tensor([[2.0, 3.0, 7.0]]).double().log()
    mask = torch.tensor([[True, True, False]])
    total = sum_log_ratio_over_sequence(log_ratio, token_mask=mask)
    close(total.exp(), [[6.0, 6.0, 6.0]])
    weights = compute_importance_weights(total, token_mask=mask)
    close(truncate_tis(weights, ratio_max=5.0), [[5.0, 5.0, 0.0]])


def sequence_weights(log_ratio, mask):
    return truncate_sequences(
        compute_importance_weights(log_ratio, token_mask=mask),
        mean_ratio=compute_sequence_mean_ratio(log_ratio, token_mask=mask),
        **BOUNDS,
    )


VARIANTS = [
    lambda x, mask: compute_importance_weights(x, token_mask=mask),
    lambda x, mask: truncate_icepop(compute_importance_weights(x, token_mask=mask), **BOUNDS),
    sequence_weights,
]


@pytest.mark.parametrize("compute", VARIANTS)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_masked_tokens_have_weight_zero_and_change_nothing(compute, junk):
    mask = torch.tensor([[False, True, True]])
    clean = compute(torch.tensor([[0.0, 0.1, -0.2]]), mask)
    spoilt = compute(torch.tensor([[junk, 0.1, -0.2]]), mask)
    assert spoilt[0, 0] == 0
    assert torch.equal(clean, spoilt)


@pytest.mark.parametrize("compute", VARIANTS)
def test_weights_are_constants_to_the_optimizer(compute):
    log_ratio = torch.zeros(1, 3, requires_grad=True)
    assert not compute(log_ratio, torch.ones(1, 3)).requires_grad


def test_ratios_that_are_not_finite_count_as_zero():
    log_ratio = torch.tensor([[math.nan, math.inf, 1000.0, -math.inf]])
    weights = compute_importance_weights(log_ratio, token_mask=torch.ones(1, 4))
    assert weights.tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_out_of_bound_rates_of_microbatches_add_up():
    # Outside [0.5, 2] are 0.25 and 4: two of five tokens; masking the 4 leaves one of four.
    count = torch.tensor(5)
    whole = compute_out_of_bound_rate(RATIOS, mask=ALL, global_count=count, **BOUNDS)
    parts = [
        compute_out_of_bound_rate(RATIOS[:, s], mask=ALL[:, s], global_count=count, **BOUNDS)
        for s in (slice(0, 2), slice(2, 5))
    ]
    assert whole.item() == pytest.approx(2 / 5)
    assert sum(parts).item() == pytest.approx(2 / 5)
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    rate = compute_out_of_bound_rate(RATIOS, mask=mask, global_count=mask.sum(), **BOUNDS)
    assert rate.item() == pytest.approx(1 / 4)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (2.0, 1.0), (0.0, 0.0), (0.5, math.nan)])
def test_bounds_out_of_range_are_refused(low, high):
    with pytest.raises(ValueError, match="ratio_min"):
        truncate_icepop(RATIOS, ratio_min=low, ratio_max=high)
