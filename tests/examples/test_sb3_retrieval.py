"""The retrieval module learns inside a policy of Stable-Baselines3."""

import pytest
import torch

pytest.importorskip("stable_baselines3", reason="needs the extra `compare`")


def test_it_reads_what_is_recalled_and_is_trained():
    from examples import sb3_retrieval

    model = sb3_retrieval.make(num_envs=2, n_steps=64, batch_size=32, n_epochs=2)
    features = model.policy.features_extractor
    before = {name: weight.detach().clone() for name, weight in features.retrieval.named_parameters()}
    model.learn(256)
    assert len(model.get_env().envs[0].get_wrapper_attr("episodes").memory) > 0
    assert all(not torch.equal(before[name], weight) for name, weight in features.retrieval.named_parameters())
    seen = {"observation": torch.zeros(1, 4), "memory": torch.zeros(1, 6)}
    found = seen | {"memory": torch.tensor([[5.0, 0.0, 0.0, 0.0, 1.0, 1.0]])}
    assert not torch.equal(features(seen), features(found))
