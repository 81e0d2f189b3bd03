"""A register instead of a memory: it holds one place, the last that was rewarded, until it is visited in vain."""

import numpy as np
import pytest
import torch

from benchmarks.adaptation.runs import AGENTS, resolve
from engram_rl.agents.retrieval.last_site import LastSite
from engram_rl.agents.retrieval.options import RetrievalOptions
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN
from tests.agents.retrieval_worlds import ACTIONS, REACH, SPACE, found_at, memory_input, tell
from tests.agents.test_retrieval_ppo import agent, environments, play


def register(num_envs=2, **options):
    options = RetrievalOptions(**({"memory_dropout": 0.0} | options))
    situations = PlaceSituations(SPACE, 0, reach=REACH)
    generator = torch.Generator().manual_seed(0)
    made = LastSite(
        situations=situations, action_space=ACTIONS, num_envs=num_envs, options=options, generator=generator
    )
    made._envs = np.arange(num_envs)  # as `found_at` reads it
    return made


def shown(made, places):
    read = made.read(np.array(places), explore=True)
    return read[NEIGHBOURS], read[SHOWN]


def test_it_shows_the_token_that_retrieval_shows_of_its_only_site():
    one, memory = register(), memory_input(neighbours=0, reward_sites=1)
    for made in (one, memory):
        found_at(made, 0, [4, 4])
        tell(made, [[0, 8]] * 2, [[1, 1]] * 2, done=[True, True])
    (tokens, there), (told, also_there) = shown(one, [[2, 7]] * 2), shown(memory, [[2, 7]] * 2)
    assert there.tolist() == also_there.tolist() == [[True], [False]]
    assert torch.allclose(tokens, told)


def test_only_the_last_place_is_held_and_one_visit_in_vain_clears_it():
    made = register(1)
    found_at(made, 0, [4, 4])
    found_at(made, 0, [2, 2])
    way = shown(made, [[0, 0]])[0][0, 0, 2:4]
    assert torch.allclose(way, torch.tensor([2.0, 2.0]) / REACH)
    tell(made, [[0, 0]], [[4, 4]])
    assert shown(made, [[0, 0]])[1].all()
    tell(made, [[0, 0]], [[2, 2]])
    assert not shown(made, [[0, 0]])[1].any()


def test_places_of_one_cell_are_one_site():
    made = register(1, site_size=4.0)
    found_at(made, 0, [4, 4])
    tell(made, [[0, 0]], [[5, 5]])
    assert not shown(made, [[0, 0]])[1].any()


def test_players_have_a_register_of_their_own_and_see_always():
    made = register(1, memory_dropout=1.0)
    found_at(made, 0, [4, 4])
    assert not shown(made, [[0, 0]])[1].any()
    player = made.player(3)
    player._envs = np.arange(3)
    assert not shown(player, [[0, 0]] * 3)[1].any()
    found_at(player, 1, [4, 4])
    assert shown(player, [[0, 0]] * 3)[1].flatten().tolist() == [False, True, False]


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="logit_bias=0"):
        register(logit_bias=1.0)
    with pytest.raises(ValueError, match="view@agent"):
        agent(environments(), name="retrieval_ppo_view", settings="control=last_site retrieval.logit_bias=0")


@pytest.mark.parametrize("more", ["", "recurrent=8 hidden=[8] +carry_state=true +show_previous=true"])
def test_ppo_with_it_learns_goes_on_where_it_was_saved_and_plays(more):
    settings = f"control=last_site {more}"
    made, other = (agent(environments(), settings=settings, seed=seed) for seed in (0, 1))
    reports = play(made, environments(), 70)[1]
    assert len(reports) == 2 and np.isfinite(reports[-1]["train/value_loss"])
    other.load_state_dict(made.state_dict())
    (again, _), (same, _) = (play(one, environments(), 40, seed=5) for one in (made, other))
    assert np.array_equal(again, same)
    assert made.player(3).act(environments(3).reset(seed=0)[0], explore=False).shape == (3,)


def test_the_bench_of_adaptation_knows_both():
    made = {
        run.agent: run.settings for run in resolve("newgoal_searched", {}, ["register", "gru_register"], [0], 1, None)
    }
    assert {settings["control"] for settings in made.values()} == {"last_site"} and made.keys() <= AGENTS.keys()
    assert made["gru_register"]["recurrent"] == 64 and made["gru_register"]["carry_state"]
