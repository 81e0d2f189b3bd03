"""What each write rule makes of a value that comes again, and when it counts as coming again."""

import pytest
import torch

from engram_rl.memory import (
    Append,
    Blend,
    DifferentiableNeuralDictionary,
    Last,
    Max,
    Modality,
    RunningMean,
    SurpriseGated,
    WriteContext,
)

RULES = {
    Append(): lambda old, new: new,
    Blend(0.25): lambda old, new: old + 0.25 * (new - old),
    Last(): lambda old, new: new,
    Max(): lambda old, new: max(old, new),
    RunningMean(): lambda old, new: (3 * old + new) / 4,
    SurpriseGated(): lambda old, new: old / 2 if old > 0 and new <= 0 else max(old, new),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_each_number_is_combined_as_the_rule_says(rule):
    stored = torch.tensor([[2.0, -1.0, 3.0, 0.0], [4.0, 1.0, -2.0, 5.0]])
    new = torch.tensor([[0.0, 2.0, -5.0, -3.0], [8.0, 0.0, -1.0, 5.0]])
    expected = [[RULES[rule](o, n) for o, n in zip(*rows, strict=True)] for rows in zip(stored, new, strict=True)]
    context = WriteContext(torch.arange(2), torch.tensor([3, 3], dtype=torch.int32), torch.zeros(2))
    torch.testing.assert_close(rule.combine(stored, new, context), torch.tensor(expected))


def test_appending_keeps_every_row_and_the_identity_names_the_newest():
    memory = DifferentiableNeuralDictionary(1, 1, 8, k=1, write_rule="append")
    slots = memory.write(torch.zeros(3, 1), torch.arange(3.0).unsqueeze(1), identity=torch.tensor([4, 4, 5]))
    assert len(memory) == 3 and memory.find(torch.tensor([4, 5])).tolist() == slots[1:].tolist()
    memory.forget(slots[1:2])
    assert memory.find(torch.tensor([4])).tolist() == [-1]


@pytest.mark.parametrize("wrong", [0.0, 1.5])
def test_a_blend_outside_0_to_1_is_refused(wrong):
    with pytest.raises(ValueError, match="alpha"):
        Blend(wrong)


def test_a_running_mean_is_the_mean_of_all_that_was_ever_written_also_after_loading(tmp_path):
    generator = torch.Generator().manual_seed(0)
    memory = DifferentiableNeuralDictionary(1, 2, 20, k=1, write_rule="mean")
    given = {name: [] for name in range(30)}
    for turn in range(60):
        n = int(torch.randint(1, 9, (), generator=generator))
        names, values = torch.randint(0, 30, (n,), generator=generator), torch.randn(n, 2, generator=generator)
        for name, value in zip(names.tolist(), values.tolist(), strict=True):
            if memory.find(torch.tensor([name])) < 0:
                given[name].clear()  # it had to make room
            given[name].append(value)
            memory.write(torch.full((1, 1), float(name)), torch.tensor([value]), identity=torch.tensor([name]))
        if turn == 30:
            memory.save(tmp_path / "m")
            memory = DifferentiableNeuralDictionary.load(tmp_path / "m")
    known = [name for name in given if memory.find(torch.tensor([name])) >= 0]
    slots = memory.find(torch.tensor(known))
    expected = torch.stack([torch.tensor(given[name]).mean(0) for name in known])
    torch.testing.assert_close(memory.values[slots], expected)
    assert memory.slot_table.writes[slots].tolist() == [len(given[name]) for name in known]


def test_a_rule_sees_slot_count_and_priority():
    seen = []

    class Watching:
        matches = True

        def combine(self, stored, value, context):
            seen.append((context.slots.tolist(), context.count.tolist(), context.priority.tolist()))
            return value

    memory = DifferentiableNeuralDictionary(1, 1, 8, write_rule=Watching())
    for turn in range(3):
        memory.write(torch.zeros(3, 1), torch.ones(3, 1), torch.arange(3.0), torch.tensor([10 + turn, 1, 2]))
    assert seen == [([1, 2], [1, 1], [1.0, 2.0]), ([1, 2], [2, 2], [1.0, 2.0])]


class Bare:
    pass


class OnlyMatches:
    matches = True


class TwoArguments:
    """As the first version had it."""

    matches = True

    def combine(self, stored, value):
        return value


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Bare(), "or an object that has matches, combine"),
        (OnlyMatches(), "lacks combine;"),
        (Max, r"is the class Max; give an object of it, Max\(...\)"),
        (TwoArguments(), r"combine\(stored, value\) is called as combine\(stored, value, context\)"),
    ],
)
def test_what_is_no_rule_is_refused_when_the_memory_is_built(rule, message):
    with pytest.raises(TypeError, match=message):
        DifferentiableNeuralDictionary(1, 1, 8, write_rule=rule)


@pytest.mark.parametrize("made", [lambda s, v: (s + v).sum(0), lambda s, v: s[:, :0], lambda s, v: s[:1]])
def test_what_a_rule_makes_of_another_shape_is_spread_over_no_values(made):
    class Odd:
        matches = True

        def combine(self, stored, value, context):
            return made(stored, value)

    memory = DifferentiableNeuralDictionary(2, 1, 10, write_rule=Odd())
    names = torch.tensor([1, 2])
    memory.write(torch.eye(2), torch.ones(2, 1), identity=names)
    with pytest.raises(ValueError, match=r"makes values of shape .* for 2 entries; expected \[2, 1\]"):
        memory.write(torch.eye(2), torch.ones(2, 1), identity=names)
    assert memory.values[:2].tolist() == [[1.0], [1.0]]


class TestMatchingByDistance:
    def memory(self, space=1, **options):
        return DifferentiableNeuralDictionary(space, 1, 16, k=1, write_rule="max", match_within=0.25, **options)

    def test_a_row_close_to_an_entry_updates_it(self):
        memory = self.memory()
        first = memory.write(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [1.0]]))
        again = memory.write(torch.tensor([[0.5], [5.51]]), torch.tensor([[2.0], [2.0]]))
        assert again.tolist() == [first[0], 2] and len(memory) == 3
        assert memory.values[:3].flatten().tolist() == [2, 1, 2]

    def test_rows_of_one_batch_meet_each_other(self):
        memory = self.memory()
        slots = memory.write(torch.tensor([[0.0], [0.4], [0.8], [9.0]]), torch.arange(4.0).unsqueeze(1))
        assert slots.tolist() == [0, 0, 0, 1]  # the key moves along, so each is close to the last

    def test_a_named_row_is_matched_by_its_name_only(self):
        memory = self.memory()
        memory.write(torch.zeros(1, 1), torch.zeros(1, 1), identity=torch.tensor([1]))
        slots = memory.write(torch.zeros(1, 1), torch.zeros(1, 1), identity=torch.tensor([2]))
        assert slots.tolist() == [1]

    def test_only_an_entry_of_the_same_modalities_is_the_same(self):
        memory = self.memory([Modality("a", 1), Modality("b", 1, penalty=0.0)])
        memory.write({"a": torch.zeros(1, 1), "b": torch.zeros(1, 1)}, torch.zeros(1, 1))
        assert memory.write({"a": torch.zeros(1, 1)}, torch.ones(1, 1)).tolist() == [1]

    @pytest.mark.parametrize("masked", [False, True])
    def test_a_batch_is_matched_as_its_rows_would_be_one_by_one(self, masked):
        space = [Modality("a", 1)] + [Modality("b", 1)] * masked
        generator = torch.Generator().manual_seed(1)
        batched, single = self.memory(space), self.memory(space)
        for _ in range(30):
            a, values = 6 * torch.rand(7, 1, generator=generator), torch.rand(7, 1, generator=generator)
            parts = {"a": a} | ({"b": torch.zeros(7, 1)} if masked else {})
            names = torch.randint(0, 40, (7,), generator=generator)
            named = torch.rand((), generator=generator) < 0.3
            at_once = batched.write(parts, values, identity=names if named else None)
            for i in range(7):
                row = {name: part[i : i + 1] for name, part in parts.items()}
                slot = single.write(row, values[i : i + 1], identity=names[i : i + 1] if named else None)
                assert slot == at_once[i]
            torch.testing.assert_close(batched.values, single.values)

    def test_a_negative_distance_is_refused(self):
        with pytest.raises(ValueError, match="match_within"):
            DifferentiableNeuralDictionary(1, 1, 16, match_within=-1.0)
