"""A checkpoint comes back exactly, is never half written, and a damaged one is refused before anything changes."""

import json

import numpy as np
import pytest
import torch

from engram_rl.training.errors import UsageError
from engram_rl.training.runs.checkpoint import STRUCTURE, TENSORS, load_checkpoint, save_checkpoint

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)},
    "array": np.arange(4, dtype=np.uint8),
    "words": np.array([2**63 + 1], dtype=np.uint64),
    "empty": torch.empty(0, 5),
    "list": [1, 2.5, None, True, "text", (1, 2), [torch.ones(1)]],
    "by number": {0: {"momentum": torch.zeros(2)}, 1: {}},
    "big": 2**100,
}


def equal(a, b):
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_the_state_comes_back_with_types_shapes_and_bits(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    assert equal(load_checkpoint(tmp_path / "c"), STATE)


def test_tensors_that_share_storage_are_saved_apart(tmp_path):
    buffer = torch.arange(10.0)
    save_checkpoint(tmp_path / "c", {"all": buffer, "part": buffer[2:5]})
    assert load_checkpoint(tmp_path / "c")["part"].tolist() == [2.0, 3.0, 4.0]


def test_a_state_that_cannot_be_saved_leaves_the_old_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": 1})
    with pytest.raises(UsageError, match=r"object.*at /bad/0"):
        save_checkpoint(tmp_path / "c", {"bad": [object()]})
    assert load_checkpoint(tmp_path / "c") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_what_a_killed_process_left_half_written_goes_with_the_next_save(tmp_path):
    (tmp_path / ".c.123.tmp").mkdir()
    save_checkpoint(tmp_path / "c", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("name", [TENSORS, STRUCTURE])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, name, keep):
    save_checkpoint(tmp_path / "c", STATE)
    path = tmp_path / "c" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UsageError, match=name):
        load_checkpoint(tmp_path / "c")


def test_a_flipped_bit_is_noticed(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    path = tmp_path / "c" / TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UsageError, match="not what was saved"):
        load_checkpoint(tmp_path / "c")


def test_foreign_and_newer_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path / "c", STATE)
    path = tmp_path / "c" / STRUCTURE
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {"version": 99}))
    with pytest.raises(UsageError, match="version 99"):
        load_checkpoint(tmp_path / "c")
    path.write_text(json.dumps({"hello": 1}))
    with pytest.raises(UsageError, match="not written by this project"):
        load_checkpoint(tmp_path / "c")
