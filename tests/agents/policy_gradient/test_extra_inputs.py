"""What PPO is shown beside the observation: an update sees what the actor saw."""

import torch
from torch import nn

from engram_rl.agents.policy_gradient.policies import make_policy
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, World, make_agent, play


class Notes:
    """Shows the number of the step, and remembers what it showed."""

    def __init__(self):
        self.count, self.finals = 0, []

    def read(self, observation, *, explore):
        return {"note": torch.full((E, 1), float(self.count))}

    def read_final(self, transition, rows):
        self.finals.append((self.count, rows))
        return {"note": torch.full((len(rows), 1), -1.0)}

    def observe(self, transition):
        self.count += 1

    def metrics(self):
        return {"memory/notes": float(self.count)}

    def player(self, num_envs):
        return self

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_an_update_sees_what_the_actor_saw_however_the_memory_has_changed():
    agent, notes = make_agent(minibatch_size=T * E), Notes()
    agent.extras = (notes,)
    shown = []
    forward = agent.policy.forward

    def listen(seen, state, starts, extras, *mask):
        shown.append(extras["note"])
        return forward(seen, state, starts, extras)

    agent.policy.forward = listen
    _, metrics = play(agent, World(), T)
    assert metrics["memory/notes"] == T
    assert len(shown) == 1 + 2, "once to judge the rollout, once an epoch"
    for one in shown:
        assert sorted(one.flatten().tolist()) == sorted(float(t) for t in range(T) for _ in range(E))
    assert all(count < T for count, _ in notes.finals), "a final observation is read before the step is observed"


def test_extras_reach_actor_and_critic_through_fusions_and_beside_the_features():
    class Add(nn.Module):
        def forward(self, features, extras):
            return features + extras["note"]

    widths = []

    def fusion(width):
        widths.append(width)
        return Add()

    policy = make_policy(VECTOR, TWO, 0, hidden=[8], appended={"other": 2}, fusion=fusion)
    assert widths == [8, 8]
    nothing = torch.zeros(0)
    seen = torch.rand(4, 3)
    extras = {"note": torch.zeros(4, 1), "other": torch.zeros(4, 2)}
    base = policy(seen, nothing, nothing, extras)
    for name in extras:
        changed = policy(seen, nothing, nothing, extras | {name: torch.ones_like(extras[name])})
        assert not torch.equal(changed.value, base.value)
        assert not torch.equal(changed.distribution.log_probs, base.distribution.log_probs)
