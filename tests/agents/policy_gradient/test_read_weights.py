"""What the heads of a core read, of the first environment alone."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from engram_rl.agents.policy_gradient.read_weights import first_environment, read_weights
from engram_rl.memory.cores import CORES
from tests.agents.ppo_worlds import E, T, World, make_agent, play


def test_the_first_environment_is_cut_out_and_copied():
    data = {
        "seen": {"x": torch.rand(T, E, 2)}, "starts": torch.rand(T, E) < 0.5, "extras": {"note": torch.rand(T, E, 1)},
        "action": torch.zeros(T, E),
    }  # fmt: skip
    given, state = first_environment(data, {"hidden": torch.arange(E * 2.0).view(E, 2)})
    assert given.keys() == {"seen", "starts", "extras"} and state["hidden"].tolist() == [[0, 1]]
    for found, whole in ((given["seen"], data["seen"]), (given["extras"], data["extras"]), (given, data)):
        for name in found.keys() & {"x", "note", "starts"}:
            assert found[name].shape[:2] == (T, 1) and torch.equal(found[name][:, 0], whole[name][:, 0])
    data["seen"]["x"].zero_()
    assert given["seen"]["x"].all()


@pytest.mark.parametrize("name", ["store", "dnc"])
def test_what_is_read_is_what_a_step_after_the_other_reads(name):
    agent = make_agent(recurrent=8, core=CORES[name], show_previous=True)
    play(agent, World(ends=0.4), T + 2)
    agent.forget_open_steps()
    play(agent, World(ends=0.4, seed=1), T, learn=False)
    data, initial = agent._evaluated(), agent._rollout.initial_state
    policy, given = agent.policy, first_environment(data, initial)
    inputs, graphs = policy.inputs, []
    policy.inputs = lambda *seen: graphs.append(found := inputs(*seen)) or found
    read = read_weights(policy, *given)
    assert [one.requires_grad for one in graphs] == [False], "looking keeps nothing to learn from"
    starts = data["starts"][:, 0]
    assert 0 < starts.sum() < T and read.starts.tolist() == starts.tolist() and read.by == policy.core.reads_by
    state = given[1]
    for t in range(T):
        with torch.no_grad():
            x = torch.cat([policy.encoder(data["seen"][t, :1]), data["extras"]["previous"][t, :1]], dim=1)
            expected = policy.core.attention(x[None], state, starts[t].view(1, 1))  # [1, 1, H, N]
            _, state, _ = policy.core.step(x, state, starts[t].view(1))
        assert read.weights.shape == (T, *expected.shape[2:])
        np.testing.assert_allclose(read.weights[t], expected[0, 0], rtol=1e-4, atol=1e-5)
    for part in ("weights", "starts", "by"):
        with pytest.raises(FrozenInstanceError):
            setattr(read, part, None)
