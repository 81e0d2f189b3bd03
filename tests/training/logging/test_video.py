"""Videos: one episode of the first environment from its beginning to its end, shown long enough to be looked at."""

import io
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf
from PIL import Image, ImageSequence

from engram_rl.training.errors import UsageError
from engram_rl.training.logging import video
from engram_rl.training.logging.video import contact_sheet, gif, record


class Filmed(gym.Env):
    """Renders the step it is at; of those that are reset together the first ends last."""

    metadata = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012
    observation_space, action_space = spaces.Box(0, 9999, (1,)), spaces.Discrete(2)
    seeds: list[int] = []  # noqa: RUF012

    def __init__(self, ends=5, render_mode=None):
        self.ends, self.render_mode = ends, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            Filmed.seeds.append(seed)
            self.last = self.ends if len(Filmed.seeds) % 2 else 3
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == self.last, False, {}

    def render(self):
        return np.full((4, 4, 3), self.t % 256, np.uint8)


class Blind(Filmed):
    metadata = {"render_modes": ["human"]}  # noqa: RUF012


gym.register("test/Filmed-v0", Filmed)
gym.register("test/Blind-v0", Blind)


class Agent:
    """Tells whether it was asked to explore and how much it was shown."""

    def __init__(self):
        self.explored, self.seen = [], 0

    def act(self, observation, *, explore=True):
        self.explored.append(explore)
        return np.zeros(len(observation), np.int64)

    def observe(self, transition):
        self.seen += 1


class Remembering(Agent):
    """Has a player, which observes in its place."""

    def __init__(self):
        super().__init__()
        self.players = []

    def player(self, num_envs):
        assert num_envs == 2
        self.players.append(Agent())
        return self.players[-1]


@pytest.fixture(autouse=True)
def _fresh():
    Filmed.seeds = []


def config(name="Filmed", **kwargs):
    env = {"id": f"test/{name}-v0", "num_envs": 2, "vectorization": "sync", "kwargs": kwargs, "wrappers": []}
    return OmegaConf.create({"seed": 3, "seeding": "counted", "env": env})


def values(frames):
    return [int(frame[0, 0, 0]) for frame in frames]


def test_an_episode_is_filmed_from_its_beginning_to_its_end_without_exploring():
    agent = Agent()
    assert values(record(agent, config())) == [0, 1, 2, 3, 4]
    assert agent.explored == [False] * 5 and agent.seen == 0
    remembering = Remembering()
    assert values(record(remembering, config())) == [0, 1, 2, 3, 4]
    (player,) = remembering.players
    assert player.explored == [False] * 5 and player.seen == 5 and not remembering.explored and not remembering.seen


def test_an_episode_without_end_is_filmed_for_2000_steps():
    assert len(record(Agent(), config(ends=10**9))) == 2000


def test_the_episode_is_of_the_runs_seed_unless_another_is_given():
    met = []
    for seed in (None, 3, 4, 0):
        Filmed.seeds = []
        record(Agent(), OmegaConf.merge(config(), {"seeding": "spawned"}), seed)
        met.append(tuple(Filmed.seeds))
    assert met[0] == met[1] and len(set(met)) == 3


def test_what_is_filmed_works_beside_the_environments_of_the_run(monkeypatch):
    build, beside = video.build_environments, []

    def built(*given, **more):
        beside.append(more)
        return build(*given, **more)

    monkeypatch.setattr(video, "build_environments", built)
    record(Agent(), config())
    assert beside == [{"beside": True}] * 2


def test_what_renders_to_no_array_is_refused():
    with pytest.raises(UsageError, match=r"test/Blind-v0 renders to \['human'\], but a video needs rgb_array"):
        record(Agent(), config("Blind"))


def stands_for(unwrapped):
    return SimpleNamespace(unwrapped=SimpleNamespace(**{"spec": None} | unwrapped))


PICTURES = [np.full((4, 4, 3), 10 * n, np.uint8) for n in range(1, 4)]


@pytest.mark.parametrize(
    "kind",
    [
        {"core": SimpleNamespace(render=PICTURES.__getitem__), "envs": ()},
        {"envs": [SimpleNamespace(render=lambda picture=picture: picture) for picture in PICTURES]},
        {"render": lambda: tuple(PICTURES)},
    ],
    ids=["ours", "side by side", "vectorised"],
)
def test_the_first_environment_is_filmed(kind):
    assert values([video._frame(stands_for(kind))]) == [10]


@pytest.mark.parametrize(
    ("spec", "who"), [(None, "the environment"), (SimpleNamespace(id="X-v0"), r"the environment \(X-v0\)")]
)
def test_an_environment_that_renders_nothing_is_named(spec, who):
    with pytest.raises(UsageError, match=f"{who} renders None, which is no image"):
        video._frame(stands_for({"render": lambda: None, "spec": spec}))


def shown(content):
    """Frames and how many milliseconds each is shown."""
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.info["loop"] == 0, "over and over"
        frames = [(np.asarray(one.convert("RGB")), one.info["duration"]) for one in ImageSequence.Iterator(opened)]
    return [frame for frame, _ in frames], [duration for _, duration in frames]


def grey(*levels, size=(4, 4)):
    return [np.full((*size, 3), level, np.uint8) for level in levels]


@pytest.mark.parametrize(
    ("more", "each", "last"), [({}, 80, 1000), ({"seconds": 0.5}, 500, 1000), ({"seconds": 20}, 20000, 20000)]
)
def test_a_video_repeats_and_rests_at_its_end(more, each, last):
    frames, durations = shown(gif(grey(*range(0, 250, 25)), **more))
    assert values(frames) == list(range(0, 250, 25))
    assert durations == [each] * 9 + [last]


def test_of_long_episodes_120_frames_are_picked_evenly():
    levels = [(7 * n) % 256 for n in range(1000)]
    frames, _ = shown(gif(grey(*levels)))
    assert len(frames) == 120
    assert values(frames) == [levels[round(999 * n / 119)] for n in range(120)]
    assert len(shown(gif(grey(5)))[0]) == 1


def test_all_frames_have_the_size_of_the_first_and_at_most_240_pixels_a_side():
    frames, _ = shown(gif([*grey(10, size=(30, 40)), *grey(90, size=(20, 20)), *grey(200, size=(60, 80))]))
    assert [frame.shape for frame in frames] == [(30, 40, 3)] * 3
    for frame, level in zip(frames, (10, 90, 200), strict=True):
        assert (frame == level).all()
    frames, _ = shown(gif(grey(10, 20, size=(480, 240))))
    assert frames[0].shape == (240, 120, 3)


def test_five_frames_stand_side_by_side_from_the_first_to_the_last():
    sheet = contact_sheet([*grey(*range(0, 200, 10), size=(6, 4)), *grey(200, size=(12, 8))])
    assert sheet.shape == (6, 20, 3) and sheet.dtype == np.uint8
    for number, level in enumerate((0, 50, 100, 150, 200)):
        assert (sheet[:, 4 * number : 4 * number + 4] == level).all()
    assert contact_sheet(grey(1, 2, 3), count=2)[0, :, 0].tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
