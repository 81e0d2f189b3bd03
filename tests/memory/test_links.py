"""What links promise, against lists of Python tuples."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.links import Links

N, L = 6, 3


class SlowLinks:
    """The same promises over L places for [target, target's generation, weight, kind] per source."""

    def __init__(self):
        self.alive, self.generation = [False] * N, [0] * N
        self.rows = [[None] * L for _ in range(N)]

    def born(self, slot):
        self.alive[slot] = True
        self.generation[slot] += 1
        self.rows[slot] = [None] * L

    def live(self, source):
        if not self.alive[source]:
            return []
        return [x for x in self.rows[source] if x and self.alive[x[0]] and self.generation[x[0]] == x[1]]

    def add(self, source, target, weight, kind):
        live, row = self.live(source), self.rows[source]
        for link in live:
            if (link[0], link[3]) == (target, kind):
                link[2] += weight
                return
        place = min(range(L), key=lambda i: row[i][2] if row[i] in live else -1)
        row[place] = [target, self.generation[target], weight, kind]

    def follow(self, slot, steps, kind):
        reached = {slot: 1.0}
        for _ in range(steps):
            following = {}
            for source, weight in reached.items():
                for target, _, w, k in self.live(source):
                    if kind is None or k == kind:
                        following[target] = following.get(target, 0) + weight * w
            reached = following
        return reached

    def spread(self, activation, steps, decay, kind):
        total, wave = dict(activation), dict(activation)
        for _ in range(steps):
            following = {}
            for source, weight in wave.items():
                links = [(t, w) for t, _, w, k in self.live(source) if kind is None or k == kind]
                for target, w in links:
                    share = decay * weight * w / sum(w for _, w in links)
                    following[target] = following.get(target, 0) + share
            wave = following
            for slot, weight in wave.items():
                total[slot] = total.get(slot, 0) + weight
        return {slot: weight for slot, weight in total.items() if weight > 0}


def memory():
    alive, generation = torch.zeros(N, dtype=torch.bool), torch.zeros(N, dtype=torch.int32)
    return Links(alive, generation, L), alive, generation


def chain(*pairs, entries=N, **rest):
    links, alive, generation = memory()
    alive[:entries], generation[:entries] = True, 1
    sources, targets = torch.tensor(pairs).T
    links.add(sources, targets, **rest)
    return links, alive, generation


def as_dict(reached, row=0):
    return {int(s): float(w) for s, w in zip(reached.slots[row], reached.weights[row], strict=True) if s >= 0}


slot = st.integers(0, N - 1)
link = st.tuples(slot, slot, st.integers(1, 1000).map(lambda w: w / 8 + w / 1024), st.integers(0, 1))
event = st.one_of(
    st.tuples(st.just("write"), slot),
    st.tuples(st.just("forget"), slot),
    st.tuples(st.just("link"), st.lists(link, min_size=1, max_size=6)),
)


@settings(max_examples=100, deadline=None)
@given(
    events=st.lists(event, max_size=20),
    steps=st.integers(1, 3),
    kind=st.sampled_from([None, 0, 1]),
    decay=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_links_are_those_of_lists_through_every_birth_and_death(events, steps, kind, decay):
    links, alive, generation = memory()
    slow = SlowLinks()
    for verb, what in [("write", s) for s in range(N)] + events:
        if verb == "write":
            slow.born(what)
            alive[what] = True
            generation[what] += 1
        elif verb == "forget":
            slow.alive[what] = alive[what] = False
        else:
            pairs = [one for one in what if slow.alive[one[0]] and slow.alive[one[1]]]
            for one in pairs:
                slow.add(*one)
            if pairs:
                sources, targets, weights, kinds = (torch.tensor(x) for x in zip(*pairs, strict=True))
                links.add(sources, targets, weights, kinds)
    everyone = torch.arange(N)
    followed = links.follow(everyone, steps, kind=kind)
    spread = links.spread(everyone.unsqueeze(1), steps=steps, decay=decay, kind=kind)
    for s in range(N):
        assert as_dict(followed, s) == pytest.approx(slow.follow(s, steps, kind), rel=1e-4)
        assert as_dict(spread, s) == pytest.approx(slow.spread({s: 1.0}, steps, decay, kind), rel=1e-4)
    assert (followed.weights.diff(dim=1) <= 0).all()  # the strongest first


def test_a_memory_without_links_leads_nowhere():
    links, *_ = memory()
    assert not links.follow(torch.tensor([0, 1]), steps=2).valid.any()
    assert as_dict(links.spread(torch.tensor([[0]]))) == {0: 1.0}
    links.load_state_dict(links.state_dict(N))
    assert len(links) == 0


def test_following_leads_along_a_chain():
    links, *_ = chain((0, 1), (1, 2), (2, 3))
    assert as_dict(links.follow(torch.tensor([0]), steps=3)) == {3: 1.0}
    assert as_dict(links.follow(torch.tensor([3]))) == {}
    assert not links.follow(torch.tensor([-1])).valid.any()


def test_ways_that_meet_add_up():
    links, *_ = chain((0, 1), (0, 2), (1, 3), (2, 3), weights=torch.tensor([1.0, 2, 3, 4]))
    assert as_dict(links.follow(torch.tensor([0]), steps=2)) == {3: 1 * 3 + 2 * 4}


def test_an_entry_that_moves_in_inherits_no_link_in_either_direction():
    links, alive, generation = chain((0, 1), (1, 2))
    generation[1] += 1  # another entry in slot 1
    assert as_dict(links.follow(torch.tensor([0]))) == {}
    assert as_dict(links.follow(torch.tensor([1]))) == {}
    links.add(torch.tensor([1]), torch.tensor([3]))
    assert as_dict(links.follow(torch.tensor([1]))) == {3: 1.0}
    alive[3] = False
    assert as_dict(links.follow(torch.tensor([1]))) == {}


def test_linking_again_makes_the_link_stronger():
    links, *_ = chain((0, 1), (0, 1), weights=0.5)
    assert as_dict(links.follow(torch.tensor([0]))) == {1: 1.0}


def test_one_link_too_many_takes_the_place_of_a_broken_one_before_the_weakest():
    links, alive, _ = chain((0, 1), (0, 2), (0, 3), weights=torch.tensor([2.0, 1.0, 3.0]))
    alive[3] = False
    links.add(torch.tensor([0]), torch.tensor([4]), 5.0)
    assert as_dict(links.follow(torch.tensor([0]))) == {4: 5.0, 1: 2.0, 2: 1.0}
    links.add(torch.tensor([0]), torch.tensor([5]), 0.5)
    assert as_dict(links.follow(torch.tensor([0]))) == {4: 5.0, 1: 2.0, 5: 0.5}


def test_only_the_strongest_are_followed_when_there_are_more_than_the_width():
    links, *_ = chain((0, 1), (0, 2), (1, 3), (2, 4), weights=torch.tensor([1.0, 2, 5, 1]))
    assert as_dict(links.follow(torch.tensor([0]), steps=2, width=1)) == {4: 2.0}


def test_activation_spreads_from_what_was_found_in_proportion_to_it():
    links, *_ = chain((0, 2), (1, 2), (1, 3))
    recalled = links.spread(torch.tensor([[0, 1, -1]]), torch.tensor([[0.6, 0.4, 0.9]]), steps=1, decay=0.5)
    assert as_dict(recalled) == pytest.approx({0: 0.6, 1: 0.4, 2: 0.3 + 0.1, 3: 0.1})


def test_following_changes_nothing():
    links, *_ = chain((0, 1), (1, 0))
    before = links.state_dict(N)
    assert len(links) == 2
    links.follow(torch.arange(N), steps=2)
    links.spread(torch.arange(N).unsqueeze(0))
    assert all(torch.equal(before[name], now) for name, now in links.state_dict(N).items())


def test_saved_links_are_restored_also_with_more_room():
    links, alive, generation = chain((0, 1), (0, 2), (1, 5), weights=torch.tensor([1.0, 2, 3]), kinds=7)
    alive, generation = (torch.cat([x, torch.zeros_like(x)]) for x in (alive, generation))
    other = Links(alive, generation, L + 2)
    other.add(torch.tensor([3]), torch.tensor([4]))
    other.load_state_dict(links.state_dict(N))
    assert as_dict(other.follow(torch.tensor([0]), kind=7)) == {1: 1.0, 2: 2.0}
    assert as_dict(other.follow(torch.tensor([1]))) == {5: 3.0}
    assert as_dict(other.follow(torch.tensor([3]))) == {}
    with pytest.raises(ValueError, match="raise capacity"):
        links.load_state_dict(other.state_dict(2 * N))
    assert as_dict(links.follow(torch.tensor([0]))) == {1: 1.0, 2: 2.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [0, 1]), "sources and targets"),
        (([0], [5]), "target slot 5 holds no entry"),
        (([-1], [0]), "source slot -1 holds no entry"),
        (([N], [0]), "source slot 6 holds no entry"),
        (([0.0], [1.0]), "integers"),
        (([0], [1], 0.0), "above 0"),
        (([0], [1], float("nan")), "above 0"),
        (([0], [1], [1.0, 2.0]), "weights must be"),
        (([0], [1], 1.0, 256), "kinds"),
    ],
)
def test_bad_links_are_refused_before_anything_changes(arguments, message):
    links, *_ = chain((0, 1), entries=5)
    sources, targets, *rest = arguments
    rest = [torch.tensor(x) if isinstance(x, list) else x for x in rest]
    with pytest.raises((ValueError, TypeError), match=message):
        links.add(torch.tensor(sources), torch.tensor(targets), *rest)
    assert as_dict(links.follow(torch.tensor([0]))) == {1: 1.0}


@pytest.mark.parametrize("bad", [{"steps": 0}, {"width": 0}])
def test_impossible_walks_are_refused(bad):
    links, *_ = chain((0, 1))
    with pytest.raises(ValueError, match="at least 1"):
        links.follow(torch.tensor([0]), **bad)
    with pytest.raises(ValueError, match="decay"):
        links.spread(torch.tensor([[0]]), decay=1.5)


def test_the_links_of_a_dictionary_outlive_saving_and_not_its_entries():
    dnd = DifferentiableNeuralDictionary(2, 1, capacity=4, k=1, forgetting="fifo")
    slots = dnd.write(torch.arange(8.0).reshape(4, 2), torch.zeros(4, 1))
    dnd.link(slots[:-1], slots[1:])
    twin = DifferentiableNeuralDictionary(2, 1, capacity=4, k=1, forgetting="fifo")
    twin.load_state_dict(dnd.state_dict())
    for memory in (dnd, twin):
        assert as_dict(memory.follow(slots[:1], steps=3)) == {3: 1.0}
        memory.write(torch.ones(1, 2), torch.zeros(1, 1))  # evicts the first, and takes its slot
        assert as_dict(memory.follow(slots[:1])) == {}
        memory.forget(slots[2:3])
        assert as_dict(memory.follow(slots[1:2])) == {}
        assert len(memory.links) == 0
    narrow = DifferentiableNeuralDictionary(2, 1, capacity=4, k=1, links_per_entry=2)
    with pytest.raises(ValueError, match="raise capacity or links_per_entry"):
        narrow.load_state_dict(dnd.state_dict())
    assert len(narrow) == 0


def test_activation_may_be_whole_numbers_and_none_is_below_0():
    memory = DifferentiableNeuralDictionary(2, 1, 4)
    slots = memory.write(torch.eye(2), torch.zeros(2, 1)).unsqueeze(0)
    assert memory.links.spread(slots, torch.tensor([[2, 1]])).weights.tolist() == [[2.0, 1.0]]
    with pytest.raises(ValueError, match="all at least 0"):  # rather than left out in silence
        memory.links.spread(slots, torch.tensor([[2.0, -1.0]]))


def test_settings_of_a_walk_are_refused_beyond_their_limits_and_taken_on_them():
    memory = DifferentiableNeuralDictionary(2, 1, 4)
    slots = memory.write(torch.eye(2), torch.zeros(2, 1))
    memory.link(slots[:1], slots[1:], kind=255)
    links = memory.links
    for decay, active in ((0.0, [1.0, 0.0]), (1.0, [1.0, 1.0])):
        reached = links.spread(slots[:1].unsqueeze(1), decay=decay, steps=1)
        weights = {int(slot): float(weight) for slot, weight in zip(reached.slots[0], reached.weights[0], strict=True)}
        assert [weights.get(slot, 0.0) for slot in slots.tolist()] == active
    for decay in (-0.1, 1.1):
        with pytest.raises(ValueError, match="decay is"):
            links.spread(slots[:1].unsqueeze(1), decay=decay)
    for wrong in ({"steps": 0}, {"width": 0}, {"kind": -1}, {"kind": 256}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            links.follow(slots, **wrong)
    for kind in (-1, 256):
        with pytest.raises(ValueError, match=rf"kind of a link \(kinds\) is {kind}; it must be at"):
            memory.link(slots[:1], slots[1:], kind=kind)
    assert links.follow(slots[:1], kind=255).slots.tolist() == [[int(slots[1])]]


@pytest.mark.parametrize("space", [[Modality("a", 3)], [Modality("a", 2), Modality("b", 1)]])
@pytest.mark.parametrize("index", ["exact", "cached"])
def test_what_is_linked_and_moved_in_another_mode_is_as_it_would_be_outside(space, index):
    def parts(rows):
        return {one.name: torch.randn(rows, one.size) for one in space}

    def life(mode):
        torch.manual_seed(0)
        memory = DifferentiableNeuralDictionary(space, 1, 6, k=2, index=index, links_per_entry=2)
        slots = memory.write(parts(6), torch.randn(6, 1))
        memory.lookup(parts(2))
        keys, values = torch.randn(2, 3), torch.randn(2, 1)
        with mode():
            memory.links.add(slots[:3], slots[3:], torch.rand(3))
            memory.move(slots[:2], keys, values)
            memory.contradict(slots[5:])
        query = {name: part.requires_grad_() for name, part in parts(4).items()}
        memory.lookup(query).value.sum().backward()  # what was made there may be differentiated here, and changed
        memory.links.add(slots[:1], slots[4:5])
        memory.move(slots[1:3], keys, values)
        memory.write(parts(1), torch.randn(1, 1))
        found, reached = memory.lookup(parts(4)), memory.links.follow(slots[:3])
        gradients = [part.grad for part in query.values()]
        return [found.slots, found.distances, found.value.detach(), reached.slots, reached.weights, *gradients]

    plain = life(nullcontext)
    for mode in (torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16), torch.no_grad):
        for one, other in zip(plain, life(mode), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_slots_to_link_are_integers_of_any_size(dtype):
    memory = DifferentiableNeuralDictionary(1, 1, 10)
    memory.write(torch.rand(4, 1), torch.rand(4, 1))
    ends = torch.tensor([[0, 2], [3, 1]], dtype=dtype)
    memory.link(*ends)
    assert memory.follow(ends[0]).slots.tolist() == [[3], [1]]
    with pytest.raises(ValueError, match="target slot 9 holds no entry"):
        memory.link(ends[0], torch.tensor([3, 9], dtype=dtype))


def test_a_link_takes_13_bytes_and_a_slot_four(monkeypatch):
    asked = []
    monkeypatch.setattr("engram_rl.memory.links.require_ram", lambda what, size, *_: asked.append((what, size)))
    links = Links(torch.ones(10, dtype=torch.bool), torch.ones(10, dtype=torch.int32))
    assert links.per_source == 8 and len(links) == 0 and sum(part.nbytes for part in links._buffers().values()) == 0
    links.add(torch.tensor([9]), torch.tensor([0]))
    assert asked[-1] == ("memory for links_per_entry=8 links from each of 10 slots", 10 * 108)
    assert sum(part.nbytes for part in links._buffers().values()) == 10 * 108
    links.add(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    assert len(links) == 1 and as_dict(links.follow(torch.tensor([9]))) == {0: 1.0}


def test_weak_links_are_stronger_than_broken_ones_and_none_grows_beyond_what_can_be_held():
    links, alive, _ = chain((0, 1), (0, 2), (0, 3), weights=torch.tensor([0.25, 0.5, 1e30]))
    alive[3] = False
    links.add(torch.tensor([0]), torch.tensor([4]), 0.125)
    assert as_dict(links.follow(torch.tensor([0]))) == {2: 0.5, 1: 0.25, 4: 0.125}
    links.add(torch.tensor([0, 0]), torch.tensor([4, 4]), 1e30)
    assert as_dict(links.follow(torch.tensor([0])))[4] == pytest.approx(1e30)
    assert float(links.weight.max()) == pytest.approx(1e30)


def test_relations_between_the_same_two_are_kept_apart():
    links, *_ = chain((0, 1), (0, 1), (0, 1), weights=torch.tensor([1.0, 2.0, 4.0]), kinds=torch.tensor([0, 1, 0]))
    assert len(links) == 2
    for kind, weight in ((None, 7.0), (0, 5.0), (1, 2.0), (2, None)):
        assert as_dict(links.follow(torch.tensor([0]), kind=kind)) == ({} if weight is None else {1: weight})


@pytest.mark.parametrize("entries", [0, 2])
def test_nobody_leads_nowhere_and_answers_have_a_column(entries):
    links, alive, generation = memory()
    alive[:2], generation[:2] = True, 1
    if entries:
        links.add(torch.tensor([0]), torch.tensor([1]))
    for walk in (lambda: links.follow(torch.empty(0, dtype=torch.int64)), lambda: links.follow(torch.tensor([-1, 5]))):
        reached = walk()
        assert reached.slots.shape == reached.weights.shape == (len(reached.slots), 1)
        assert (reached.slots == -1).all() and (reached.weights == 0).all() and not reached.valid.any()
    spread = links.spread(torch.empty(0, 3, dtype=torch.int64))
    assert spread.slots.shape[0] == 0
    alone = links.spread(torch.tensor([[-1, -1]]))
    assert alone.slots.tolist() == [[-1]] and alone.weights.tolist() == [[0]]


def test_of_equals_the_lower_slot_comes_first_and_activation_is_one_unless_told():
    links, *_ = chain((0, 4), (0, 2), (0, 3))
    assert links.follow(torch.tensor([0])).slots.tolist() == [[2, 3, 4]]
    assert links.follow(torch.tensor([0]), width=2).slots.tolist() == [[2, 3]]
    recalled = as_dict(links.spread(torch.tensor([[0, 5]]), steps=1))
    assert recalled == pytest.approx({0: 1, 5: 1, 2: 1 / 6, 3: 1 / 6, 4: 1 / 6})
    doubled = links.spread(torch.tensor([[5, 5]]), torch.tensor([[1.0, 2.0]]), steps=1)
    assert as_dict(doubled) == {5: 3.0}


def test_what_is_no_activation_is_refused():
    links, *_ = chain((0, 1))
    for wrong in (torch.ones(1, 2), torch.tensor([[torch.nan]]), torch.tensor([[1.1e30]]), torch.tensor([[torch.inf]])):
        with pytest.raises(ValueError, match=r"activation has shape .*; expected finite \[1, 1\]"):
            links.spread(torch.tensor([[0]]), wrong)
    assert as_dict(links.spread(torch.tensor([[0]]), torch.tensor([[1e30]]), steps=1))[0] == pytest.approx(1e30)
    for slots in (torch.tensor([0]), torch.tensor([[6]]), torch.tensor([[-2]])):
        with pytest.raises(ValueError, match="slots"):
            links.spread(slots)
    for slots in (torch.tensor([[0]]), torch.tensor([6]), torch.tensor([-2])):
        with pytest.raises(ValueError, match="slots"):
            links.follow(slots)


def test_saved_links_fit_where_there_are_as_many_places_and_in_no_fewer():
    links, alive, generation = chain((0, 1), (5, 0))
    state = links.state_dict(N)
    Links(alive, generation, L).load_state_dict(state)
    for wrong in (Links(alive[:-1], generation[:-1], L), Links(alive, generation, L - 1)):
        with pytest.raises(ValueError, match=rf"saved links have {N} slots with places for {L} each"):
            wrong.load_state_dict(state)
    empty = Links(alive, generation, L)
    empty.load_state_dict(memory()[0].state_dict(N))
    assert len(empty.target) == 0
