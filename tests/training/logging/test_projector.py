"""The memory laid out for the projector: every entry at its key, with what is known about it, evenly thinned out."""

import json

import numpy as np
import pytest
import torch

from engram_rl.agents.episodic_control.action_memories import ActionMemories
from engram_rl.memory import DifferentiableNeuralDictionary, TransitionMemory
from engram_rl.training.logging.logger import METRICS
from engram_rl.training.logging.projector import CONFIG, KEYS, METADATA, entries, write_projector


class Holder:
    """Something that holds things."""

    def __init__(self, **held):
        vars(self).update(held)


def dictionary(count=0, capacity=50):
    memory = DifferentiableNeuralDictionary(2, 1, capacity, 2, write_rule="last")
    if count:
        memory.write(torch.arange(2.0 * count).reshape(count, 2), torch.arange(float(count)).unsqueeze(1))
    return memory


def of_actions():
    """Entries 0 and 2 of action 0, written at steps 10 and 30, and 1 of action 1, written at 20."""
    memories = ActionMemories([dictionary(), dictionary()])
    for number, (action, step) in enumerate([(0, 10), (1, 20), (0, 30)]):
        keys = torch.tensor([[number + 0.5, -number]])
        memories.write(np.array([action]), keys, torch.tensor([7.0 + number]), torch.tensor([number]), step)
    return memories


def of_transitions():
    """State 0 leads to 1 (reward 0.25) and 2 (reward 1), 1 back to 0 twice; 3 is another owner's and leads to 2."""
    memory = TransitionMemory(1, 3, 20, owners=2)
    at = np.array([[0.0], [0.0], [1.0], [3.0]])
    to = np.array([[1.0], [2.0], [0.0], [2.0]])
    rewards, owners = np.array([0.25, 1.0, 0.5, 2.0]), np.array([0, 0, 0, 1])
    memory.write(at, np.array([0, 1, 2, 0]), to, rewards=rewards, owners=owners)
    memory.write(np.array([[1.0]]), np.array([2]), np.array([[0.0]]), rewards=0.5)
    return memory


def table(folder):
    header, *rows = (folder / METADATA).read_text().splitlines()
    return header.split("\t"), [[float(cell) for cell in row.split("\t")] for row in rows]


def keys(folder):
    return [[float(cell) for cell in row.split("\t")] for row in (folder / KEYS).read_text().splitlines()]


def test_entries_of_all_actions_stand_at_their_keys_with_what_they_are_and_when_they_were_written(tmp_path):
    (tmp_path / METRICS).write_text(
        "".join(json.dumps({"step": step, **more}) + "\n" for step, more in (
            (5, {}), (10, {"env/task_index": 0.0}), (25, {"env/task_index": 1.0}), (29, {"env/task_index": 2.0}),
        ))
    )  # fmt: skip
    assert write_projector(Holder(memories=of_actions()), tmp_path, 40) is True
    assert keys(tmp_path) == [[0.5, 0], [2.5, -2], [1.5, -1]]
    header, rows = table(tmp_path)
    assert header == ["value", "strength", "hits", "action", "age", "task_index"]
    assert [[row[0], *row[3:]] for row in rows] == [[7, 0, 30, 0], [9, 0, 10, 2], [8, 1, 20, 1]]
    assert (tmp_path / CONFIG).read_text() == (
        "embeddings {\n"
        '  tensor_name: "memory"\n  tensor_path: "memory_keys.tsv"\n  metadata_path: "memory_metadata.tsv"\n}\n'
    )
    for name in (KEYS, METADATA):
        assert (tmp_path / name).read_text().endswith("\n")


def test_where_nothing_shifts_there_is_no_task_index_and_a_bare_dictionary_knows_no_age(tmp_path):
    write_projector(Holder(memories=of_actions()), tmp_path, 40)
    header, rows = table(tmp_path)
    assert header[3:] == ["action", "age"] and [row[4] for row in rows] == [30, 10, 20]
    write_projector(Holder(memory=dictionary(3)), tmp_path, 40)
    header, rows = table(tmp_path)
    assert header == ["value", "strength", "hits"] and [row[0] for row in rows] == [0, 1, 2]
    assert keys(tmp_path) == [[0, 1], [2, 3], [4, 5]]


def test_states_stand_where_they_are_with_their_best_reward_and_what_is_known_from_there():
    memory = of_transitions()
    found = entries(Holder(memory=memory))
    places = zip(found.keys[:, 0], found.columns["owner"], strict=True)
    at = {(float(place), int(owner)): row for row, (place, owner) in enumerate(places)}
    assert at.keys() == {(0, 0), (1, 0), (2, 0), (3, 1), (2, 1)}
    for place, value, strength, known in (
        ((0, 0), 1, 1, 2), ((1, 0), 0.5, 2, 1), ((2, 0), 0, 0, 0), ((3, 1), 2, 1, 1), ((2, 1), 0, 0, 0),
    ):  # fmt: skip
        row = at[place]
        assert [found.columns[name][row] for name in ("value", "strength", "actions_known")] == [value, strength, known]
    np.testing.assert_array_equal(found.written, memory.state_dict()["seen"])


def test_a_memory_is_found_in_an_agent_or_in_a_part_of_it():
    memory = dictionary(3)
    for holder in (
        Holder(a=1, memory=memory), Holder(parts=[1.0, memory]), Holder(parts=(memory,)),
        Holder(part=Holder(b="x", memory=memory)), Holder(parts=[Holder(memory=memory)]),
    ):  # fmt: skip
        assert len(entries(holder).keys) == 3
    assert entries(Holder(part=Holder(part=Holder(memory=memory)))) is None, "a part's part may be of another's"
    assert entries(Holder(weights=[1.0])) is None


@pytest.mark.parametrize(("count", "shown"), [(0, False), (1, False), (2, True)])
def test_a_cloud_has_two_entries_at_least(tmp_path, count, shown):
    assert write_projector(Holder(memory=dictionary(count)), tmp_path, 1) is shown
    assert {path.name for path in tmp_path.iterdir()} == ({KEYS, METADATA, CONFIG} if shown else set())
    assert write_projector(Holder(), tmp_path, 1) is False


def test_of_large_memories_5000_entries_are_shown_evenly_with_the_first_and_the_last(tmp_path):
    write_projector(Holder(memory=dictionary(7000, capacity=8000)), tmp_path, 1)
    shown = [key[0] / 2 for key in keys(tmp_path)]
    assert len(shown) == len(table(tmp_path)[1]) == 5000
    assert (shown[0], shown[-1]) == (0, 6999) and set(np.diff(shown)) == {1, 2}
