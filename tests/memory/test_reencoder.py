"""Keys follow an encoder that moves, a bounded number of entries per call."""

import pytest
import torch
from torch import nn

from engram_rl.memory import DifferentiableNeuralDictionary, Modality, Reencoder


def encoded_memory(n=10, capacity=12, **options):
    torch.manual_seed(0)
    encoder = nn.Linear(3, 2).requires_grad_(False)
    memory = DifferentiableNeuralDictionary(2, 1, capacity, k=1, forgetting="fifo", **options)
    reencoder = Reencoder(memory, encoder, (3,))
    observations = torch.randn(n, 3)
    slots = memory.write(encoder(observations), torch.zeros(n, 1))
    reencoder.remember(slots, observations)
    return memory, encoder, reencoder, observations, slots


class TestReencoder:
    def test_after_one_round_every_key_is_what_the_encoder_makes_now(self):
        memory, encoder, reencoder, observations, slots = encoded_memory()
        old = memory.key_vectors[slots].clone()
        encoder.weight *= 2
        moved = torch.cat([reencoder.refresh(4) for _ in range(3)])
        torch.testing.assert_close(memory.key_vectors[slots], encoder(observations))
        torch.testing.assert_close(moved[:10], (encoder(observations) - old).norm(dim=1))
        assert memory.lookup(encoder(observations)).slots.squeeze(1).tolist() == slots.tolist()

    @pytest.mark.parametrize("made", [lambda x: x[:, :1], lambda x: x[0, :2], lambda x: x, lambda x: x[:, :2].numpy()])
    def test_what_an_encoder_makes_of_another_shape_is_spread_over_no_keys(self, made):
        memory, _, reencoder, _, slots = encoded_memory()
        old = memory.key_vectors[slots].clone()
        reencoder.encoder = made
        with pytest.raises((ValueError, TypeError), match=r"the encoder made .*(expected \[10, 2\]|must be a tensor)"):
            reencoder.refresh()
        assert torch.equal(memory.key_vectors[slots], old)

    def test_arrays_and_slots_that_are_not_there_are_named(self):
        _, _, reencoder, observations, slots = encoded_memory()
        for given, error in (
            ((slots, observations.numpy()), TypeError),
            ((slots.tolist(), observations), TypeError),
            ((slots + 99, observations), ValueError),
        ):
            with pytest.raises(error, match=r"observations|slots"):
                reencoder.remember(*given)
        with pytest.raises(TypeError, match=r"rows is 1\.5"):
            reencoder.refresh(1.5)

    def test_a_call_touches_no_more_than_it_was_allowed_to(self):
        memory, encoder, reencoder, _, slots = encoded_memory()
        old = memory.key_vectors[slots].clone()
        encoder.weight *= 2
        assert len(reencoder.refresh(4)) == 4
        assert (memory.key_vectors[slots] != old).any(1).sum() == 4
        assert len(reencoder.refresh(1000)) == 10

    def test_an_entry_whose_observation_is_not_known_stays_as_it_is(self):
        memory, encoder, reencoder, _, _ = encoded_memory(n=12)
        slots = memory.write(torch.full((2, 2), 5.0), torch.zeros(2, 1))  # takes the slots of the oldest two
        memory.forget(torch.tensor([7]))
        encoder.weight *= 2
        assert len(reencoder.refresh(12)) == 9
        assert (memory.key_vectors[slots] == 5).all()

    def test_only_its_own_part_of_the_key_moves(self):
        space = [Modality("view", 2), Modality("place", 1), Modality("action", 1, "discrete")]
        memory = DifferentiableNeuralDictionary(space, 1, 4)
        reencoder = Reencoder(memory, lambda x: x * 3, (2,), modality="view")
        key = {"view": torch.ones(1, 2), "place": torch.ones(1, 1), "action": torch.ones(1, 1, dtype=torch.long)}
        reencoder.remember(memory.write(key, torch.zeros(1, 1)), torch.ones(1, 2))
        reencoder.refresh()
        assert memory.key_vectors[0].tolist() == [3, 3, 1]
        with pytest.raises(ValueError, match="say which"):
            Reencoder(memory, nn.Identity(), (2,))
        with pytest.raises(ValueError, match="did you mean 'view'"):
            Reencoder(memory, nn.Identity(), (2,), modality="vieu")

    def test_of_an_entry_written_twice_in_a_batch_the_last_observation_counts(self):
        _, _, reencoder, _, _ = encoded_memory()
        reencoder.remember(torch.tensor([3, 3]), torch.tensor([[1.0, 1, 1], [2, 2, 2]]))
        assert reencoder.observations[3].tolist() == [2, 2, 2]

    def test_of_observations_that_were_computed_no_graph_is_kept(self):
        _, _, reencoder, _, slots = encoded_memory()
        weight = torch.ones(3, requires_grad=True)
        reencoder.remember(slots, torch.randn(10, 3) * weight)
        assert not reencoder.observations.requires_grad
        assert not reencoder.state_dict()["observations"].requires_grad

    def test_continues_after_saving_and_an_empty_memory_has_nothing_to_do(self):
        memory, encoder, reencoder, _, slots = encoded_memory()
        reencoder.refresh(4)
        twin_memory, _, twin, _, _ = encoded_memory(n=1)
        twin.encoder = encoder
        twin_memory.load_state_dict(memory.state_dict())
        twin.load_state_dict(reencoder.state_dict())
        encoder.weight *= 2
        assert torch.equal(reencoder.refresh(3), twin.refresh(3))
        assert torch.equal(memory.key_vectors[slots], twin_memory.key_vectors[slots])
        empty = DifferentiableNeuralDictionary(2, 1, 4)
        assert len(Reencoder(empty, encoder, (3,)).refresh()) == 0
        with pytest.raises(ValueError, match="do not fit"):
            Reencoder(empty, encoder, (3,)).load_state_dict(reencoder.state_dict())

    def test_refuses_observations_of_another_shape(self):
        _, _, reencoder, _, slots = encoded_memory()
        with pytest.raises(ValueError, match=r"expected \[10, 3\]"):
            reencoder.remember(slots, torch.zeros(10, 4))
        with pytest.raises(ValueError, match="at least 1"):
            reencoder.refresh(0)

    def test_slots_come_in_turn_from_the_first_and_after_the_last_again(self):
        memory, encoder, reencoder, _, _ = encoded_memory(n=5)
        seen = []
        for rows in (2, 2, 2, 4):
            before = memory.key_vectors[:5].clone()
            encoder.weight += 1
            assert len(reencoder.refresh(rows)) == rows
            seen.append((memory.key_vectors[:5] != before).any(1).nonzero().flatten().tolist())
        assert seen == [[0, 1], [2, 3], [0, 4], [1, 2, 3, 4]]
        assert reencoder.state_dict()["cursor"] == 0

    def test_what_is_loaded_takes_the_place_of_all_that_was_known(self):
        _, _, reencoder, _, _ = encoded_memory(n=3, capacity=3)
        _, _, twin, _, _ = encoded_memory(n=3, capacity=3)
        twin.load_state_dict(reencoder.state_dict())  # as many as there is room for
        assert torch.equal(twin.observations, reencoder.observations)
        _, _, few, _, _ = encoded_memory(n=1, capacity=3)
        twin.load_state_dict(few.state_dict())
        assert twin.generation.tolist() == [1, 0, 0]
        twin.encoder.weight += 1
        assert len(twin.refresh(3)) == 1  # of the others nothing is known any more

    def test_of_nobody_nothing_is_kept_and_of_several_the_last(self):
        _, _, reencoder, observations, _ = encoded_memory(n=4)
        reencoder.remember(torch.tensor([-1, 0, -1, 2, 0]), torch.arange(15.0).reshape(5, 3))
        assert reencoder.observations[0].tolist() == [12, 13, 14]
        assert reencoder.observations[2].tolist() == [9, 10, 11]
        assert torch.equal(reencoder.observations[[1, 3]], observations[[1, 3]])
        assert not reencoder.observations[4:].any()

    def test_the_only_entry_has_its_turn_every_time(self):
        memory, encoder, reencoder, observations, _ = encoded_memory(n=1)
        for _ in range(3):
            encoder.weight += 1
            assert len(reencoder.refresh(1)) == 1
            torch.testing.assert_close(memory.key_vectors[:1], encoder(observations))
