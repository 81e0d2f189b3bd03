"""An Atari game shifts to other modes and difficulties; beside a stand-in that takes them up as ale_py does."""

import gymnasium
import pytest

from engram_rl.envs import Periodic, ShiftingTarget
from engram_rl.envs.atari import AtariVariant, atari_shift


class Cartridge:
    """What is read of ale_py's interface; a mode that was set counts from the next reset on."""

    def __init__(self):
        self.load()

    def load(self):
        self.set, self.running = (0, 0), None

    def getAvailableModes(self):
        return [0, 1, 3]

    def getAvailableDifficulties(self):
        return [0, 1]

    def setMode(self, mode):
        self.set = (mode, self.set[1])

    def setDifficulty(self, difficulty):
        self.set = (self.set[0], difficulty)


class Game(gymnasium.Env):
    """One step; a reset with a seed loads the cartridge anew, as ale_py's does."""

    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.ale = Cartridge()
        self._game_mode = self._game_difficulty = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.ale.load()
            if self._game_mode is not None:
                self.ale.setMode(self._game_mode)
                self.ale.setDifficulty(self._game_difficulty)
        self.ale.running = self.ale.set
        return 0, {}

    def step(self, action):
        return 0, 1.0, True, False, {}


def test_each_episode_runs_the_variant_that_the_schedule_says():
    env = ShiftingTarget(Game(), Periodic([(3, 0), (1, 1)], period=2), AtariVariant())
    seen, infos = [], []
    for episode in range(5):
        infos.append(env.reset(seed=0 if episode in (0, 4) else None)[1])
        seen.append(env.unwrapped.ale.running)
    assert seen == [(3, 0), (3, 0), (1, 1), (1, 1), (3, 0)] == [info["target"] for info in infos]
    assert [info["task_index"] for info in infos] == [0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("variant", "error", "message"),
    [
        ((2, 0), ValueError, "mode must be one of 0, 1, 3 in this game, got 2"),
        ((0, 2), ValueError, "difficulty must be one of 0, 1 in this game, got 2"),
        ((-1, 0), ValueError, "mode must be one of"),
        ((0.5, 0), TypeError, "mode must be a whole number"),
        ((True, 0), TypeError, "mode must be a whole number"),
        (3, TypeError, "pair of mode and difficulty"),
        ("13", TypeError, "pair of mode and difficulty"),
        ((0, 0, 0), TypeError, "pair of mode and difficulty"),
    ],
)
def test_a_variant_that_the_game_does_not_have_is_refused_and_nothing_changes(variant, error, message):
    game = Game()
    with pytest.raises(error, match=message):
        AtariVariant()(game, variant)
    assert game.ale.set == (0, 0) and game._game_mode is None


def test_another_environment_is_refused():
    with pytest.raises(TypeError, match="is no Atari game"):
        AtariVariant()(gymnasium.make("CartPole-v1").unwrapped, (0, 0))


def test_without_ale_py_the_remedy_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ImportError, match=r"pip install 'engram-rl\[atari\]'"):
        gymnasium.make("engram/AtariShift-v0")


def test_the_games_themselves():
    pytest.importorskip("ale_py", reason="needs the extra `atari`")
    env = atari_shift(variants=[(3, 0), (0, 1)], period=1)
    frames = []
    for episode in range(3):
        env.reset(seed=0 if episode == 0 else None)
        frames.append([env.step(0)[0] for _ in range(60)][-1].tobytes())
    assert frames[0] == frames[2] != frames[1]
    for bad, message in (([(0, 0), (99, 0)], "mode must be"), ([(0, 9), (0, 0)], "difficulty must be")):
        with pytest.raises(ValueError, match=message):
            atari_shift(variants=bad)
    with pytest.raises(TypeError, match="CartPole-v1 is no Atari game"):
        atari_shift(game="CartPole-v1")
