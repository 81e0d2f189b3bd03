"""Which axis of a picture holds its channels."""

import pytest
from gymnasium import spaces

from engram_rl.agents.common.scaling import picture_shape

SHAPES = {
    (84, 84): (1, 84, 84, False),
    (64, 48, 3): (3, 64, 48, True),
    (3, 200, 40): (3, 200, 40, False),
    (64, 64, 40): (40, 64, 64, True),
    (80, 64, 64): (80, 64, 64, False),
    (64, 64, 128): (128, 64, 64, True),
    (4, 64, 64, 3): (12, 64, 64, True),
    (4, 3, 64, 64): (12, 64, 64, False),
    (40, 40, 40): (40, 40, 40, False),
    (40, 64, 40): (40, 64, 40, False),
    (2, 5, 64, 48, 3): (30, 64, 48, True),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_are_the_axis_beside_two_equal_ones_else_the_shorter_outer_one(shape):
    assert picture_shape(spaces.Box(0, 1, shape)) == SHAPES[shape]
