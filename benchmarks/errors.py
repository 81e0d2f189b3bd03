"""Bad inputs and what each gets: `python -m benchmarks.errors` writes docs/errors.md; a test compares it with this."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import engram_rl.memory as m
from benchmarks.configuration import CONF
from benchmarks.fuzz.config import composed
from engram_rl import SingleAgent, make_agent
from engram_rl.memory.cores import make_core
from engram_rl.training import api, train
from engram_rl.training.cli import SHOWN_PLAINLY, explain
from engram_rl.training.reporting import card, compare, page
from engram_rl.training.runs.folder import RunFolder

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"
OPENING = """# Bad inputs, and what each gets

Written by `python -m benchmarks.errors`; a test compares it with what the code says. Every error names the value, the
limit and the remedy, and is raised before anything is changed. The memory raises `ValueError` for a value that is out
of range or does not fit, and `TypeError` for one of another kind. The commands print such errors on one screen and end
with status 2.
`python -m benchmarks.fuzz examples=20000` searches for inputs that end in anything else.
"""


def _memory(**options: Any) -> m.DifferentiableNeuralDictionary:
    space = [m.Modality("view", 3), m.Modality("place", 2)]
    return m.DifferentiableNeuralDictionary(space, **({"value_dim": 1, "capacity": 10, "k": 3} | options))


def _full() -> m.DifferentiableNeuralDictionary:
    full = _memory()
    full.write({"view": torch.eye(3), "place": torch.zeros(3, 2)}, torch.ones(3, 1))
    return full


def _damaged_file(change: Callable[[bytes], bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        _full().save(path)
        path.write_bytes(change(path.read_bytes()))
        m.DifferentiableNeuralDictionary.load(path)


def _other_state() -> None:
    m.DifferentiableNeuralDictionary(3, 1, 10).load_state_dict(_full().state_dict())


def _state_with(name: str, value: Any) -> None:
    full = _full()
    full.load_state_dict(full.state_dict() | {name: value})


def _untrained() -> None:
    full = _full()
    with torch.no_grad():
        found = full.lookup({"view": torch.zeros(1, 3)})
    m.RowSGD(full).step(found)


def _resized(text: bytes, old: bytes, new: bytes) -> bytes:
    """A file whose header says something else, and is as long as it says."""
    header = text[8 : 8 + int.from_bytes(text[:8], "little")]
    changed = header.replace(old, new)
    return len(changed).to_bytes(8, "little") + changed + text[8 + len(header) :]


def _core_given(xs: torch.Tensor, reset: torch.Tensor | None = None, lacking: str = "") -> None:
    core = make_core("lstm", 3, 8)
    state = {name: leaf for name, leaf in core.initial_state(4).items() if name != lacking}
    core(xs, state, reset)


VIEW, ONE = torch.zeros(1, 3), torch.ones(1, 1)
MEMORY: dict[str, Callable[[], Any]] = {
    "a capacity of 0": lambda: _memory(capacity=0),
    "a capacity that is no whole number": lambda: _memory(capacity=5e5),
    "a capacity that no machine holds": lambda: m.DifferentiableNeuralDictionary(4096, 1, 10**9),
    "a misspelt write rule": lambda: _memory(write_rule="blnd"),
    "an index that is none": lambda: _memory(index=3),
    "half precision": lambda: _memory(dtype=torch.float16),
    "a modality without columns": lambda: m.Modality("view", 0),
    "a weight of 0": lambda: m.Modality("view", 3, weight=0),
    "two modalities of one name": lambda: m.KeySpace([m.Modality("a"), m.Modality("a")]),
    "a blend of 0": lambda: m.Blend(0.0),
    "a half-life below 0": lambda: m.Decay(-1.0),
    "keys as an array": lambda: _memory().write(VIEW.numpy(), ONE),  # type: ignore[arg-type]
    "keys of another width": lambda: _memory().write(torch.zeros(1, 4), ONE),
    "a modality that the key has not": lambda: _memory().lookup({"veiw": VIEW}),
    "parts of unequal length": lambda: _memory().lookup({"view": VIEW, "place": torch.zeros(2, 2)}),
    "NaN in a key": lambda: _memory().lookup({"view": VIEW / 0}),
    "a key that is too large": lambda: _memory().lookup({"view": VIEW + 1e20}),
    "values of another width": lambda: _memory().write({"view": VIEW}, torch.ones(1, 2)),
    "an infinite value": lambda: _memory().write({"view": VIEW}, ONE / 0),
    "a priority below 0": lambda: _memory().write({"view": VIEW}, ONE, priority=torch.tensor([-1.0])),
    "identities that are no int64": lambda: _memory().write({"view": VIEW}, ONE, identity=torch.tensor([1.0])),
    "0 neighbours": lambda: _memory().lookup({"view": VIEW}, k=0),
    "a reference to a part that is not given": lambda: _memory().lookup({"view": VIEW}, references=[("place",)]),
    "a link from a slot without an entry": lambda: _full().link(torch.tensor([7]), torch.tensor([0])),
    "a link that weighs 0": lambda: _full().link(torch.tensor([1]), torch.tensor([0]), 0.0),
    "following from a slot that is not there": lambda: _full().follow(torch.tensor([99])),
    "weakening by 2": lambda: _full().contradict(torch.tensor([0]), factor=2.0),
    "weakening where nothing fades": lambda: _full().contradict(torch.tensor([0]), factor=0.5),
    "a state of another key": _other_state,
    "a state that lacks a part": lambda: _full().load_state_dict({"rows": torch.zeros(3, 5)}),
    "a state with NaN": lambda: _state_with("values", torch.full((3, 1), torch.nan)),
    "a file cut short": lambda: _damaged_file(lambda text: text[:-9]),
    "a file of something else": lambda: _damaged_file(lambda text: b"not a memory at all"),
    "a file that claims a billion entries": lambda: _damaged_file(
        lambda text: _resized(text, b'\\"capacity\\": 10,', b'\\"capacity\\": 999999999,')
    ),
    "training what was read without gradients": _untrained,
    "a core without a size": lambda: make_core("dnc", 3, 0),
    "a core that reads more slots than it has": lambda: make_core("sam", 3, 8, slots=4, k=5),
    "a core that there is not": lambda: make_core("lsmt", 3, 8),
    "a core given NaN": lambda: _core_given(torch.full((2, 4, 3), torch.nan)),
    "a core given the state of another batch": lambda: _core_given(torch.zeros(2, 5, 3)),
    "a core given a state that lacks a leaf": lambda: _core_given(torch.zeros(2, 4, 3), lacking="cell"),
    "a core given a reset of another shape": lambda: _core_given(
        torch.zeros(2, 4, 3), torch.zeros(4, dtype=torch.bool)
    ),
}


COMMANDS = [
    "agent=ncc",
    "agent.n_stepp=5",
    "seed=abc",
    "steps=0",
    "env=gym",
    "env=CartPole-v1",
    "env=gym env.id=CartPol-v1",
    "env=cartpole env.num_envs=0",
    "env=cartpole env.num_envs=2000000",
    "env=shiftwall agent=ppo env.kwargs.n=100000",
    "agent.memory.capacity=2000000000 agent.key_size=1024",
    "+agent.replay_capacity=10000000000000",
    "agent.n_step=10000000",
    "agent.key_size=100000000000",
    "agent=mfec +agent.key_size=100000000000",
    "agent.hidden=[10000000,10000000]",
    "agent=fast_slow env=shiftwall agent.memory.capacity=100000000000",
    "agent=ppo agent.num_steps=100000000000",
    "env=gym env.id=Pendulum-v1",
    "agent=episodic_continuous env=cartpole",
    "agent.memory.k=0",
    "agent.memory.index=fast",
    "+agent.identify=false",
    "agent.device=tpu",
    "env.kwargs.gravity=1",
    "env=cartpole +env.kwargs.gravity=1",
    "resume=nowhere",
    "'env.modalities={view: camera}'",
    "gamma=0.9",
    "agent.lr=0.001",
    "agent=nec_eager",
    "agent.memory.forgetting=decay",
    "agent.exploration.end=-1",
    "threads=0",
    "seed=-1",
    "evaluation.mode=fresch",
    "env.max_episode_steps=0",
    "env.vectorization=asink",
    "env.vectorization=ray env.num_envs=2 cluster.workers=3",
    "env.vectorization=ray cluster.object_store=10",
    "logger=wandb logger.mode=ofline",
    "'env.wrappers=[{_target_: gymnasium.wrappers.NormalizeObservation, _partial_: true}]'",
    "agent=nec core=dnc",
    "agent=ppo core=dcn",
    "agent=ppo core=dnc env=cartpole agent.core.slots=0",
    "agent=ppo core=gru env=cartpole agent.recurrent=-8",
    "agent=ppo core=compressive env=cartpole '+agent.core_losses={compresion: 1}'",
    "agent=ppo core=gru env=cartpole +agent.show_previous=reward",
    "agent=ppo env=cartpole +agent.carry_state=true",
    "agent=self_imitation_ppo core=gru env=cartpole +agent.carry_state=true",
    "agent=ppo core=dnc env=cartpole agent.core.slots=1000000",
]
"""Arguments of `engram train`."""


def _own_loop(**values: Any) -> SingleAgent:
    return make_agent("mfec", gym.make("CartPole-v1"), **values)


ZEROS = np.zeros(4, np.float32)
OTHERS: dict[str, Callable[[], Any]] = {
    "`engram compare nowhere`": lambda: compare.main(["nowhere"]),
    "`engram compare metrik=return`": lambda: compare.main(["metrik=return"]),
    "`engram compare --fast`": lambda: compare.main(["--fast"]),
    "`engram report run=nowhere`": lambda: page.main(["run=nowhere"]),
    "`engram card here`": lambda: card.main(["here"]),
    '`make_agent("nek", environment)`': lambda: make_agent("nek", gym.make("CartPole-v1")),
    '`make_agent("mfec", environment, gamma=0.9)`': lambda: _own_loop(gamma=0.9),
    "an observation of another shape in your own loop": lambda: _own_loop().act(ZEROS[:3]),
    "`observe` before `act`": lambda: _own_loop().observe(ZEROS, 0.0, False, False),
    '`train("nec", "Cartpole-v1")`': lambda: api.train("nec", "Cartpole-v1", progress=False, folder="run"),
}
"""Other commands, and calls from Python."""


def table() -> str:
    """The page."""
    rows = ["| memory: what was tried | what it gets |", "|---|---|"]
    rows += [f"| {name} | {_said(call)} |" for name, call in MEMORY.items()]
    rows += ["", "| `engram train ...` | what it gets |", "|---|---|"]
    rows += [f"| `{arguments}` | {_refused(arguments)} |" for arguments in COMMANDS]
    rows += ["", "| other commands, and Python | what it gets |", "|---|---|"]
    with TemporaryDirectory() as empty, contextlib.chdir(empty):
        rows += [f"| {name} | {_said(call)} |" for name, call in OTHERS.items()]
    return "\n".join([OPENING, *rows, ""])


def _said(call: Callable[[], Any]) -> str:
    try:
        call()
    except (ValueError, TypeError, RuntimeError) as error:
        return f"`{type(error).__name__}`: {_cell(str(error))}"
    raise AssertionError("this was meant to be refused")


def _refused(arguments: str) -> str:
    try:
        config = composed([*shlex.split(arguments), "progress=false", "log.every=1"])
        with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            existing = RunFolder.open(Path(config.resume)) if config.resume else RunFolder(Path(folder) / "run")
            train.train(config, existing)
    except SHOWN_PLAINLY as error:
        return _cell(explain(error))
    raise AssertionError(f"{arguments} was meant to be refused")


def _cell(message: str) -> str:
    """One line of a table, without what differs from machine to machine."""
    line = " ".join(message.split()).replace("|", "\\|").replace(str(CONF.parent), ".")
    line = re.sub(r"such as runs/\S+", "such as runs/...", line)
    line = re.sub(r"the [\d.]+ GiB of memory that", "the memory that", line)
    return re.sub(rf"{re.escape(gettempdir())}/\S*/(memory\.safetensors|run)", r"\1", line)


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
    print(f"Written to {PAGE}")
