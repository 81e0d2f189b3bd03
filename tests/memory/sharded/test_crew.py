"""Who holds the shards: what is asked of Ray, and of whom, against a Ray of this process."""

import logging
from types import SimpleNamespace

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.sharded import ShardedMemory, crew
from engram_rl.memory.sharded.crew import PATIENCE, Here, Host, Hosts, Lost, OnRay


class RayActorError(Exception):
    pass


class GetTimeoutError(Exception):
    pass


class RayTaskError(Exception):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class Actor:
    """Calls of a method of its part, each noted, and answered when they are asked for."""

    def __init__(self, ray, kind, arguments):
        self.ray, self.part = ray, kind(*arguments)
        self.begun, self.ended = [], []

    @property
    def shards(self):
        return list(self.part._shards.values())

    def __getattr__(self, method):
        def remote(*arguments):
            if method == "begin":
                self.begun.append(arguments[1:])
            elif method == "end":
                self.ended.append(arguments[0])
            elif method == "call":
                self.ray.called.append(arguments[1])
            try:
                return [getattr(self.part, method)(*arguments)]
            except Exception as error:  # told to who asks for the answer
                return RayTaskError(error)

        return SimpleNamespace(remote=remote)


class Ray:
    """As much of Ray as shards need."""

    exceptions = SimpleNamespace(
        RayActorError=RayActorError, GetTimeoutError=GetTimeoutError, RayTaskError=RayTaskError
    )

    def __init__(self, processors=4.0, begun=False):
        self.processors, self.begun = processors, begun
        self.actors, self.called, self.started, self.waited, self.killed, self.reserved = [], [], [], [], [], []
        self.fails = {}

    def is_initialized(self):
        return self.begun

    def init(self, **options):
        self.started.append(options)
        self.begun = True

    def shutdown(self):
        self.begun = False

    def cluster_resources(self):
        return {"CPU": self.processors} if self.processors else {}

    def remote(self, **options):
        self.reserved.append(options)

        def made(kind):
            def begin(*arguments):
                self.actors.append(Actor(self, kind, arguments))
                return self.actors[-1]

            return SimpleNamespace(remote=begin)

        return made

    def get(self, reference, timeout=None):
        if isinstance(reference, list) and reference and isinstance(reference[0], list):
            return [one[0] for one in reference]
        self.waited.append(timeout)
        if len(self.waited) in self.fails:
            raise self.fails[len(self.waited)]
        if isinstance(reference, RayTaskError):
            raise reference
        return reference[0]

    def kill(self, actor):
        self.killed.append(actor)


SETTINGS = [{"space": 2, "value_dim": 1, "capacity": 5}] * 3


@pytest.fixture
def ray(monkeypatch):
    made = Ray()
    monkeypatch.setattr(crew, "_ray", lambda: made)
    monkeypatch.setattr(Hosts, "_all", {})
    monkeypatch.setattr(Hosts, "_ray_is_ours", False)
    return made


@pytest.fixture(autouse=True)
def _threads():
    """Hosts of these tests are in this process, whose threads they take for their own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def on(ray, cpus=0.5, patience=7.0, address=None):
    made = OnRay(SETTINGS, address, cpus, patience)
    ray.waited.clear()
    return made


def test_each_shard_is_an_actor_with_what_it_reserves(ray, monkeypatch):
    monkeypatch.setattr(crew.os, "cpu_count", lambda: 2)
    made = on(ray)
    assert ray.reserved == [{"num_cpus": 0.5, "max_restarts": 0}] * 3
    assert [actor.begun for actor in ray.actors] == [[(SETTINGS[0], 0)]] * 3
    assert len(ray.started) == 1 and ray.started[0]["num_cpus"] == 3  # at least one each
    assert made.processes() == [crew.os.getpid()] * 3


@pytest.mark.parametrize(("processors", "known"), [(8, 8), (None, 3)])
def test_ray_gets_all_processors_of_this_machine(ray, monkeypatch, processors, known):
    monkeypatch.setattr(crew.os, "cpu_count", lambda: processors)
    on(ray)
    assert ray.started[0]["num_cpus"] == known


def test_only_those_that_are_meant_are_asked_and_each_with_its_patience(ray):
    made = on(ray)
    answers = made.ask("holds", [(torch.tensor([0]),), None, (torch.tensor([0, 1]),)])
    assert [None if one is None else one.tolist() for one in answers] == [[False], None, [False, False]]
    assert ray.waited == [7.0, 7.0] and ray.called == ["holds"] * 2
    made.tell("retrieved", [None, (torch.tensor([1]),), None])
    assert ray.called == ["holds"] * 2 + ["retrieved"] and len(ray.waited) == 2
    with pytest.raises(ValueError, match="longer"):
        made.tell("retrieved", [None, None, None, None])


@pytest.mark.parametrize("death", [RayActorError(), GetTimeoutError()])
def test_those_that_die_or_do_not_answer_are_lost_with_what_the_others_said(ray, death):
    made = on(ray)
    ray.fails = {2: death}
    with pytest.raises(Lost, match=r"shards \[1\]") as lost:
        made.ask("holds", [(torch.tensor([0]),)] * 3)
    assert lost.value.shards == [1] and [one is None for one in lost.value.answers] == [False, True, False]
    made.begin(1)
    assert ray.killed == [ray.actors[1]] and [actor.begun[0][1] for actor in ray.actors] == [0, 0, 0, 1]
    made.begin(1)
    assert ray.killed == [ray.actors[1], ray.actors[3]] and ray.actors[-1].begun[0][1] == 2
    made.ask("optimise", [None, (0, lambda memory: memory), None])
    assert ray.actors[-1].shards[0]._optimisers and not ray.actors[1].shards[0]._optimisers


def test_a_mistake_in_a_shard_is_raised_as_it_would_be_here(ray):
    made = on(ray)
    with pytest.raises(IndexError, match="out of bounds") as raised:
        made.ask("holds", [(torch.tensor([9]),), None, None])
    assert raised.value.__suppress_context__


def test_closing_ends_the_actors_and_ray_if_it_was_begun_here(ray):
    made = on(ray)
    made.close()
    assert ray.killed == ray.actors and not ray.begun
    ray.begun = True  # by somebody else, later
    made.close()
    assert ray.begun and len(ray.killed) == 3


def test_ray_that_ran_before_is_taken_and_left_running(ray):
    ray.begun = True
    made = on(ray)
    made.close()
    assert ray.started == [] and ray.begun and ray.killed == ray.actors


@pytest.mark.parametrize(("processors", "cpus", "there"), [(1.0, 0.5, "1"), (0.0, 1.0, "0")])
def test_a_cluster_that_is_too_small_is_left_again(ray, processors, cpus, there):
    ray.processors = processors
    with pytest.raises(ValueError, match=rf"need {3 * cpus:g}; the cluster has {there}\. Lower shards or cpus"):
        on(ray, cpus)
    assert not ray.begun and ray.actors == []


def test_a_cluster_that_is_just_large_enough_is_taken(ray):
    ray.processors = 1.5
    on(ray)
    ray.processors = 0.0
    on(ray, cpus=0.0)


class TestConnecting:
    def test_a_cluster_is_joined_at_its_address(self):
        ray = Ray()
        crew._connect(ray, "head:6379", 4)
        assert ray.started == [{"address": "head:6379", "log_to_driver": True, "logging_level": logging.ERROR}]

    def test_else_one_is_begun_that_reports_nothing_unless_the_user_has_it_so(self, monkeypatch):
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
        monkeypatch.delenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", raising=False)
        ray = Ray()
        crew._connect(ray, None, 4)
        assert crew.os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
        assert crew.os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "0"
        (started,) = ray.started
        assert started["address"] == "local" and started["num_cpus"] == 4
        assert started["include_dashboard"] is False and started["log_to_driver"] is True
        monkeypatch.delenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")

    @pytest.mark.parametrize("error", [ConnectionError, RuntimeError, ValueError, OSError])
    @pytest.mark.parametrize(("address", "where"), [(None, "begun on this machine"), ("a:1", "joined at address=a:1")])
    def test_what_fails_is_said_in_one_line_with_the_way_out(self, monkeypatch, error, address, where):
        def fail(text):
            def init(**options):
                raise error(*text)

            return SimpleNamespace(init=init)

        for text, said in ((["nobody\nis there"], "nobody"), ([], error.__name__)):
            with pytest.raises(ConnectionError, match=rf"^Ray could not be {where}: {said}\. `ray start --head"):
                crew._connect(fail(text), address, 1)


def test_lost_shards_begin_under_names_that_nobody_had():
    made = Here(SETTINGS)
    for lost in range(3):
        made.ask("write", [None, (torch.ones(1, 2), torch.ones(1, 1), None, None, None, torch.tensor([0])), None])
        memory = made._shards[1].memory
        assert memory.generation.tolist() == [lost * 2**20 + 1] + [lost * 2**20] * 4
        made.begin(1)
    assert [shard.memory.generation.max() for shard in made._shards] == [0, 3 * 2**20, 0]
    assert made.close() is None


def test_a_host_computes_on_one_thread():
    torch.set_num_threads(2)
    Host()
    assert torch.get_num_threads() == 1


class TestSharedHosts:
    def test_memories_of_as_many_shards_lie_on_the_same_actors(self, ray):
        one, other = on(ray), on(ray)
        assert len(ray.actors) == 3 and [len(actor.shards) for actor in ray.actors] == [2] * 3
        one.ask("write", [(torch.ones(1, 2), torch.ones(1, 1), None, None, None, torch.tensor([0]))] * 3)
        assert [answer.size for answer in other.ask("standing", [()] * 3)] == [0] * 3
        assert [answer.size for answer in one.ask("standing", [()] * 3)] == [1] * 3

    def test_memories_of_another_number_or_reservation_have_their_own(self, ray):
        on(ray), on(ray, cpus=0.25), OnRay(SETTINGS[:2], None, 0.5, 7.0)
        assert len(ray.actors) == 3 + 3 + 2

    def test_what_ends_is_the_shards_and_with_the_last_memory_actors_and_ray(self, ray):
        one, other = on(ray), on(ray)
        one.close()
        assert [len(actor.shards) for actor in ray.actors] == [1] * 3 and ray.killed == [] and ray.begun
        one.close()
        other.ask("standing", [()] * 3)
        other.close()
        assert ray.killed == ray.actors and not ray.begun and Hosts._all == {}

    def test_ray_stays_as_long_as_hosts_of_any_number_need_it(self, ray):
        three, two = on(ray), OnRay(SETTINGS[:2], None, 0.5, 7.0)
        three.close()
        assert ray.begun and ray.killed == ray.actors[:3]
        two.close()
        assert not ray.begun

    def test_who_lost_its_host_to_another_memory_learns_it_and_takes_the_new_one(self, ray):
        one, other = on(ray), on(ray)
        one.begin(1)
        assert ray.killed == [ray.actors[1]] and len(ray.actors) == 4
        other.tell("retrieved", [None, (torch.tensor([0]),), None])  # to nobody
        with pytest.raises(Lost, match=r"shards \[1\]") as lost:
            other.ask("holds", [(torch.tensor([0]),)] * 3)
        assert [answer is None for answer in lost.value.answers] == [False, True, False]
        other.begin(1)
        assert len(ray.actors) == 4 and [entry[1] for entry in ray.actors[3].begun] == [1, 1]
        other.ask("holds", [(torch.tensor([0]),)] * 3)
        one.begin(2)
        other.close()  # of its shards those that there are
        assert [len(actor.ended) for actor in ray.actors] == [1, 0, 0, 1, 0]

    def test_a_closed_memory_says_so(self, ray):
        made = on(ray)
        made.close()
        for call in (made.ask, made.tell):
            with pytest.raises(RuntimeError, match=r"this memory was closed.*load what was saved"):
                call("standing", [()] * 3)

    def test_a_ray_that_ended_meanwhile_is_begun_again_for_new_memories(self, ray):
        one = on(ray)
        ray.shutdown()
        other = on(ray)
        assert len(ray.actors) == 6 and ray.begun
        other.close()
        one.close()
        assert ray.killed == ray.actors[3:]

    def test_hosts_that_do_not_begin_in_time_are_named_with_the_remedy(self, ray):
        ray.fails = {2: GetTimeoutError()}
        with pytest.raises(ConnectionError, match=r"shards \[1\] did not begin within patience=7 seconds; raise"):
            on(ray)
        assert ray.killed == ray.actors and not ray.begun

    def test_settings_that_a_shard_refuses_are_refused_here(self, ray):
        with pytest.raises(ValueError, match="capacity is 0"):
            OnRay([{"space": 2, "value_dim": 1, "capacity": 0}], None, 0.0, 7.0)
        assert not ray.begun


def test_a_memory_on_ray_answers_as_one_here_and_patience_has_its_default(ray):
    ray.processors = 0.0
    with ShardedMemory(2, 1, 20, k=3, shards=3) as many:
        here = ShardedMemory(2, 1, 20, k=3, shards=3, where="here")
        one = DifferentiableNeuralDictionary(2, 1, 21, k=3)
        keys = torch.randn(12, 2)
        for memory in (many, here, one):
            memory.write(keys, keys[:, :1])
        found = [memory.lookup(keys[:4]).value for memory in (many, here, one)]
        assert torch.equal(found[0], found[1])
        torch.testing.assert_close(found[0], found[2])
        assert set(ray.waited) == {PATIENCE} == {300.0}
        assert many.to_arrays()["hits"].sum() == 12
    assert not ray.begun
