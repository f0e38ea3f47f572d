"""Histograms that add up over microbatches, and quantiles read from them."""

import math

import pytest
import torch

from prorl_nemo.algorithms.ratio_histogram import (
    compute_log_ratio_histogram,
    estimate_log_ratio_quantile,
)


def histogram(values, mask=None, count=None, num_bins=4, limit=2.0):
    values = torch.tensor([values])
    mask = torch.ones_like(values) if mask is None else torch.tensor([mask])
    return compute_log_ratio_histogram(
        values,
        token_mask=mask,
        sample_mask=torch.ones(1),
        global_valid_toks=mask.sum() if count is None else count,
        limit=limit,
        num_bins=num_bins,
    )


def test_bins_by_hand():
    # Bins [-2, -1), [-1, 0), [0, 1), [1, 2]; -9 and 2 fall into the outermost; 0.5 is masked.
    shares = histogram([-9.0, -0.5, 0.0, 2.0, 0.5], mask=[1, 1, 1, 1, 0])
    assert shares.tolist() == [0.25, 0.25, 0.25, 0.25]


def test_values_that_are_not_finite_are_counted_outermost():
    assert histogram([math.nan, math.inf, -math.inf]).tolist() == pytest.approx(
        [1 / 3, 0, 0, 2 / 3]
    )


def test_microbatches_add_up():
    values = torch.linspace(-2.5, 2.5, 10).tolist()
    parts = histogram(values[:3], count=10) + histogram(values[3:], count=10)
    torch.testing.assert_close(parts, histogram(values))


@pytest.mark.parametrize("quantile", [0.0, 0.01, 0.5, 0.9, 1.0])
def test_quantiles_are_within_one_bin_of_the_exact_ones(quantile):
    values = 0.3 * torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    shares = histogram(values[0].tolist(), num_bins=400)
    estimate = estimate_log_ratio_quantile(shares, quantile=quantile, limit=2.0)
    assert abs(estimate - values.quantile(quantile)) <= 4.0 / 400 + 1e-6


def test_quantile_by_hand():
    # Half of the mass in [0, 1), half in [1, 2]: the quartile is the middle of the first.
    shares = torch.tensor([0.0, 0.0, 0.5, 0.5])
    assert estimate_log_ratio_quantile(shares, quantile=0.25, limit=2.0).item() == pytest.approx(
        0.5
    )
    assert estimate_log_ratio_quantile(shares, quantile=0.75, limit=2.0).item() == pytest.approx(
        1.5
    )


def test_quantile_out_of_range_is_refused():
    with pytest.raises(ValueError, match="quantile"):
        estimate_log_ratio_quantile(torch.ones(4), quantile=1.5, limit=2.0)
