"""The image of what is retrieved shows every entry where it is, as bold as it is attended to."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from engram_rl.agents.retrieval.retrieved import Retrieved
from engram_rl.training.logging.retrieved import described, draw_attention, draw_map, image

EXAMPLE = Retrieved(
    place=np.array([1.0, 2.0]),
    where=np.array([[4.0, 6.0], [1.0, 3.0], [0.0, 0.0]]),
    outcome=np.array([[4.0, 6.0], [5.0, 5.0], [0.0, 0.0]]),
    rewarded=np.array([True, True, False]),
    site=np.array([True, False, False]),
    action=np.array([[0.0, 0.0], [0.0, 1.0], [0.5, 2.0]]),
    gained=np.array([1.0, 0.5, 0.0]),
    confidence=np.array([0.9, 0.8, 1.0]),
    distance=np.array([0.0, 1.0, 5.0]),
    age=np.array([2.0, 3.0, 7.0]),
    attention=np.array([0.6, 0.2, 0.1]),
    nothing=0.1,
)
OF_ENTRIES = vars(EXAMPLE).keys() - {"place", "nothing"}
NOTHING = replace(EXAMPLE, **{name: getattr(EXAMPLE, name)[:0] for name in OF_ENTRIES})


def axes():
    return Figure().subplots()


def test_the_map_has_the_agent_every_entry_and_an_arrow_to_each_reward():
    drawn = axes()
    draw_map(drawn, EXAMPLE)
    at = {line.get_marker(): np.column_stack(line.get_data()).tolist() for line in drawn.lines}
    assert at["*"] == [[1, 2]] and at["s"] == [[4, 6]]
    assert sum(line.get_marker() == "o" for line in drawn.lines) == 2
    arrows = {(tuple(text.xyann), tuple(text.xy)): text.arrow_patch for text in drawn.texts if text.arrow_patch}
    assert arrows.keys() == {((1, 2), (4, 6)), ((1, 3), (5, 5))}
    widths = [arrow.get_linewidth() for arrow in arrows.values()]
    assert widths[0] > widths[1]


def test_the_bars_are_the_attention_and_say_what_they_stand_for():
    drawn = axes()
    draw_attention(drawn, EXAMPLE)
    assert [bar.get_width() for bar in drawn.patches] == pytest.approx([0.6, 0.2, 0.1, 0.1])
    labels = [label.get_text() for label in drawn.get_yticklabels()]
    assert labels == [*(described(EXAMPLE, i) for i in range(3)), "nothing"]
    assert labels[0] == "1: reward at (4, 6), return 1.00, confidence 0.90, age 2"
    assert labels[1] == "2: action 1, return 0.50, confidence 0.80, age 3, distance 1"
    assert labels[2].startswith("3: action (0.5, 2),")


def test_the_image_has_a_map_only_where_places_are_known_and_needs_no_entry():
    shapes = []
    for recalled in (EXAMPLE, replace(EXAMPLE, place=np.zeros(0), where=np.zeros((3, 0))), NOTHING):
        drawn = image(recalled)
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and 0 < drawn.mean() < 255
        shapes.append(drawn.shape)
    assert shapes[0][1] > shapes[1][1]
    assert not np.array_equal(image(EXAMPLE), image(replace(EXAMPLE, attention=EXAMPLE.attention[::-1])))
