"""The image of what is retrieved shows every entry where it is, as bold as it is attended to."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from engram_rl.agents.retrieval.retrieved import Retrieved
from engram_rl.training.logging.retrieved import described, draw_attention, draw_map, image, show_retrieved

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


def test_entries_are_as_bold_as_they_are_attended_to_and_coloured_by_what_they_are():
    """Attention 0.6, 0.2 and 0.1: shares of the highest are 1, 1/3 and 1/6; a line takes 0.5 to 3.5 points."""
    drawn = axes()
    draw_map(drawn, EXAMPLE)
    *entries, here = drawn.lines
    assert [(line.get_marker(), line.get_color()) for line in entries] == [
        ("s", "tab:orange"), ("o", "tab:green"), ("o", "tab:blue"),
    ]  # fmt: skip
    boldness = [1.0, 0.2 + 0.8 / 3, 0.2 + 0.8 / 6]
    assert [line.get_alpha() for line in entries] == pytest.approx(boldness)
    assert np.concatenate([line.get_xydata() for line in entries]).tolist() == EXAMPLE.where.tolist()
    arrows = [text.arrow_patch for text in drawn.texts if text.arrow_patch]
    assert [arrow.get_linewidth() for arrow in arrows] == pytest.approx([3.5, 1.5])
    assert [arrow.get_alpha() for arrow in arrows] == pytest.approx(boldness[:2])
    numbers = [(text.get_text(), tuple(text.xy), text.get_fontsize()) for text in drawn.texts if not text.arrow_patch]
    assert numbers == [("1", (4, 6), 8), ("2", (1, 3), 8), ("3", (0, 0), 8)]
    assert here.get_xydata().tolist() == [[1, 2]] and here.get_color() == "black"
    assert [line.get_markersize() for line in drawn.lines] == [11, 11, 11, 16]
    assert drawn.yaxis_inverted() and drawn.margins() == (0.25, 0.25) and drawn.title.get_fontsize() == 8
    assert {line.get_alpha() for line in drawn.get_xgridlines()} == {0.3}


def test_what_has_found_no_reward_or_is_where_reward_was_has_no_arrow():
    unrewarded = replace(EXAMPLE, rewarded=np.array([True, False, True]), outcome=EXAMPLE.where[[0, 1, 2]])
    drawn = axes()
    draw_map(drawn, unrewarded)
    arrows = [(tuple(text.xyann), tuple(text.xy)) for text in drawn.texts if text.arrow_patch]
    assert arrows == [((1, 2), (4, 6))], "from the agent to a reward site, from no entry to itself"
    drawn = axes()
    draw_map(drawn, replace(EXAMPLE, attention=np.zeros(3), nothing=1.0))
    assert [line.get_alpha() for line in drawn.lines[:3]] == [0.2] * 3, "attention on nothing makes nothing bold"


def test_bars_stand_in_the_order_of_entries_with_nothing_at_the_bottom():
    drawn = axes()
    draw_attention(drawn, EXAMPLE)
    assert [bar.get_y() + bar.get_height() / 2 for bar in drawn.patches] == pytest.approx([0, 1, 2, 3])
    assert drawn.yaxis_inverted() and drawn.get_xlim() == pytest.approx((0, 0.63))
    assert [label.get_fontsize() for label in drawn.get_yticklabels()] == [8] * 4
    named = ("tab:orange", "tab:green", "tab:blue", "lightgrey")
    assert [bar.get_facecolor() for bar in drawn.patches] == [to_rgba(color) for color in named]
    drawn = axes()
    draw_attention(drawn, replace(NOTHING, nothing=1.0))
    assert [bar.get_width() for bar in drawn.patches] == [1.0] and drawn.get_xlim() == pytest.approx((0, 1.05))


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ((1, 0, 0), "0"), ((0, 0, 1), "2"), ((0, 0, 0), "(0, 0, 0)"), ((1, 1, 0), "(1, 1, 0)"),
        ((2, -1, 0), "(2, -1, 0)"), ((0.5, 0.5, 0), "(0.5, 0.5, 0)"), ((1,), "0"),
        ((0.12345,), "(0.123)"), ((-1, 1, 1), "(-1, 1, 1)"),
    ],
)  # fmt: skip
def test_a_choice_is_told_by_its_number_and_anything_else_as_it_is(action, told):
    shown = replace(EXAMPLE, action=np.array([(0.0,) * len(action), action], float))
    assert f": action {told}, return" in described(shown, 1)


def many(count, place):
    """So many entries, of an agent at a place of so many numbers."""
    repeated = {name: np.repeat(getattr(EXAMPLE, name)[:1], count, axis=0) for name in OF_ENTRIES}
    repeated |= {name: np.zeros((count, place)) for name in ("where", "outcome")}
    return replace(EXAMPLE, **repeated, place=np.zeros(place))


@pytest.mark.parametrize(
    ("count", "place", "size"),
    [
        (3, 2, (240, 800)),
        (3, 0, (240, 480)),
        (3, 1, (240, 480)),
        (3, 3, (240, 480)),
        (10, 2, (352, 800)),
        (10, 0, (352, 480)),
    ],
)
def test_images_are_as_high_as_their_bars_need(count, place, size):
    """Of 80 pixels an inch: 3 inches, or 1.2 and 0.32 for each entry."""
    assert image(many(count, place)).shape == (*size, 3)


class Writer:
    def __init__(self):
        self.images = []

    def add_image(self, tag, picture, step, dataformats):
        self.images.append((tag, picture.shape, step, dataformats))


class Agent:
    def __init__(self, found):
        self.retrieved = lambda observation: found if observation == "seen" else 0


def test_only_agents_that_tell_what_they_retrieve_are_drawn():
    writer = Writer()
    for agent in (object(), Agent(None), Agent(EXAMPLE)):
        show_retrieved(agent, "seen", writer, 7)
    assert writer.images == [("memory/retrieved", (240, 800, 3), 7, "HWC")]
