"""The image of what a core's heads read: a band for each head, every step and every place that was ever read."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from engram_rl.agents.policy_gradient.read_weights import ReadWeights
from engram_rl.training.logging.read_weights import image, show_read_weights


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    drawn, draw = [], FigureCanvasAgg.draw
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: (drawn.append(canvas.figure), draw(canvas))[1])
    return drawn


def read(heads, *, ever=3, steps=5):
    """Of what N = 6 places hold the first `ever` are read."""
    weights = np.zeros((steps, heads, 6), np.float32)
    weights[:, :, :ever] = np.random.default_rng(0).uniform(0.1, 1, (steps, heads, ever))
    weights[:, :, 1 : ever - 1] = 0
    return ReadWeights(weights, np.array([True, False, True, False, False])[:steps], "age")


@pytest.mark.parametrize(("heads", "bands"), [(1, 1), (2, 2), (9, 8)])
def test_each_head_has_a_band_with_a_line_where_an_episode_begins(figures, heads, bands):
    given = read(heads)
    picture = image(given)
    assert picture.shape == (80 * (1 + 2 * bands), 720, 3) and picture.dtype == np.uint8
    (figure,) = figures
    axes = [one for one in figure.axes if one.images]
    assert len(axes) == bands and len(figure.axes) == 2 * bands, "each has a scale of its own"
    for head, band in enumerate(axes):
        (drawn,) = band.images
        np.testing.assert_array_equal(drawn.get_array(), given.weights[:, head, :3].T)
        assert (drawn.norm.vmin, band.get_ylim()) == (0, (-0.5, 2.5)), "the nearest at the bottom"
        assert [(list(line.get_xdata()), line.get_color()) for line in band.lines] == [
            ([-0.5, -0.5], "white"), ([1.5, 1.5], "white"),
        ]  # fmt: skip
        assert all(line.get_linewidth() == 0.8 for line in band.lines)
        assert band.get_ylabel() == f"age, head {head + 1}"
        assert bool(band.get_xlabel()) is (head == bands - 1)
        assert head == 0 or band.get_shared_x_axes().joined(axes[0], band)
        assert band.get_position().width > 0.7, "the scale beside it is narrow"


@pytest.mark.parametrize("ever", [0, 1, 6])
def test_places_that_were_never_read_are_left_out(figures, ever):
    given = read(2, ever=ever)
    image(given)
    assert figures[0].axes[0].images[0].get_array().shape == (max(ever, 1), 5)


class Writer:
    def __init__(self):
        self.images = []

    def add_image(self, tag, picture, step, dataformats):
        self.images.append((tag, picture.shape, step, dataformats))


class Agent:
    def __init__(self, weights):
        self.read_weights = lambda: weights


def test_only_agents_that_read_are_drawn():
    writer = Writer()
    for agent in (object(), Agent(None), Agent(read(1))):
        show_read_weights(agent, writer, 7)
    assert writer.images == [("core/read_weights", (240, 720, 3), 7, "HWC")]
