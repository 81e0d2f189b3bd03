"""An index, a write rule, a way to forget and an agent of a user's own are named in YAML and take part in a run."""

import sys
from pathlib import Path

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.training import train
from engram_rl.training.runs.folder import RunFolder

OWN = Path(train.__file__).parents[1] / "examples" / "own_parts"
TINY = ("progress=false", "log.every=80", "evaluation.every=0", "evaluation.episodes=2", "steps=200")


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(OWN))
    import my_parts

    yield my_parts
    sys.modules.pop("my_parts")


@pytest.mark.parametrize(
    "given",
    [
        ("agent=nec", "memory@agent.memory=mine", "agent.memory.capacity=60", "agent.learn_after=80", "env=cartpole"),
        (
            "agent=one_step",
            "agent.memory.capacity=60",
            "env=gym",
            "env.id=FrozenLake-v1",
            "+env.kwargs.is_slippery=false",
        ),
    ],
    ids=["parts", "agent"],
)
def test_they_train_and_resume(command, given):
    status, printed = command(train.main, "--config-dir", str(OWN), *given, *TINY)
    assert status == 0, printed
    folder = RunFolder.open(Path("latest")).path
    status, printed = command(train.main, "--config-dir", str(OWN), f"resume={folder}", "steps=280")
    assert status == 0, printed


def test_the_index_finds_almost_all_that_an_exact_one_finds(parts):
    torch.manual_seed(0)
    keys, values = torch.randn(500, 8), torch.randn(500, 1)
    own, exact = (DifferentiableNeuralDictionary(8, 1, 400, k=5, index=index) for index in (parts.ShortKeys(), "exact"))
    for memory in (own, exact):
        memory.write(keys, values)
        memory.move(memory.slots[:50], keys=memory.key_vectors[:50] + 1)
    query = torch.randn(50, 8)
    same = torch.isin(own.lookup(query).slots, exact.lookup(query).slots)
    assert same.float().mean() > 0.9


def test_the_write_rule_keeps_the_worst(parts):
    memory = DifferentiableNeuralDictionary(1, 1, 4, k=1, write_rule=parts.Pessimist())
    for value in (2.0, -1.0, 3.0):
        memory.write(torch.zeros(1, 1), torch.tensor([[value]]), identity=torch.tensor([7]))
    assert memory.lookup(torch.zeros(1, 1)).value.item() == -1


def test_a_lottery_does_not_care_for_age_or_use_and_resumes_its_draws(parts):
    memory = DifferentiableNeuralDictionary(1, 1, 50, k=1, forgetting=parts.Lottery())
    memory.write(torch.arange(100.0).unsqueeze(1), torch.zeros(100, 1))
    kept = memory.key_vectors[:, 0]
    assert 0 < (kept < 50).sum() < 50
    twin = DifferentiableNeuralDictionary(1, 1, 50, k=1, forgetting=parts.Lottery())
    twin.load_state_dict(memory.state_dict())
    for one in (memory, twin):
        one.write(torch.arange(100.0, 130.0).unsqueeze(1), torch.zeros(30, 1))
    assert torch.equal(memory.key_vectors, twin.key_vectors)


def test_the_best_are_kept(parts):
    memory = DifferentiableNeuralDictionary(1, 1, 10, k=1, write_rule="last", forgetting=parts.KeepBest())
    values = torch.randperm(60, generator=torch.Generator().manual_seed(0)).float().unsqueeze(1)
    memory.write(torch.arange(60.0).unsqueeze(1), values, identity=torch.arange(60))
    rows = [sorted(values[:10].flatten().tolist())]
    for value in values[10:].flatten().tolist():  # row after row, the worst of those that are there makes room
        rows.append(sorted([*rows[-1][1:], value]))
    assert sorted(memory.values.flatten().tolist()) == rows[-1]
    best = memory.find(torch.tensor([int(values.argmax())]))
    memory.write(torch.zeros(1, 1), torch.full((1, 1), -1.0), identity=torch.tensor([int(values.argmax())]))
    assert memory.forgetting.weakest(1, 10).tolist() == best.tolist()
