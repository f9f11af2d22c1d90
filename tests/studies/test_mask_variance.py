"""Error against local variance: squares, correlation, interval."""

import numpy as np
import pytest

from studies.mask_variance import correlation, interval, squares


def test_squares_are_those_of_the_image_in_order():
    image = np.arange(7 * 9 * 2).reshape(7, 9, 2)
    found = squares(image, 3)
    assert found.shape == (6, 9, 2)
    assert np.array_equal(found[4].reshape(3, 3, 2), image[3:6, 3:6])


@pytest.mark.parametrize(('sign', 'expected'), [(1, 1.0), (-1, -1.0)])
def test_correlation_of_error_and_variance(sign, expected):
    """Squares of 3 px whose contrast and error rise or fall together; the border has neither."""
    pattern = np.kron([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.ones((1, 1)))
    strengths = np.arange(1, 13).reshape(3, 4)
    hr = np.pad(np.kron(strengths, pattern), 2)[..., None].repeat(3, axis=2)
    error = np.kron(strengths[::sign, ::sign], np.ones((3, 3)))
    sr = hr + np.pad(error, 2, constant_values=99)[..., None]
    assert correlation(sr, hr, 3, 2) == pytest.approx(expected)


def test_interval_holds_the_mean_and_narrows_with_more_images():
    values = np.random.default_rng(0).normal(0.5, 0.1, 100)
    few, many = interval(values[:10]), interval(values)
    assert many[0] < values.mean() < many[1]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert few[1] - few[0] > 2 * (many[1] - many[0])
