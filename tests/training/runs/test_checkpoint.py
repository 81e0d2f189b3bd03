"""A checkpoint comes back exactly, is never half written, and a damaged one is refused before anything changes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from engram_rl.training.errors import UsageError
from engram_rl.training.runs.checkpoint import STRUCTURE, TENSORS, UnwritableError, load_checkpoint, save_checkpoint

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


def edited(folder, change):
    """A checkpoint whose structure was changed."""
    save_checkpoint(folder, {"a": torch.ones(2)})
    path = folder / STRUCTURE
    path.write_text(change(unsealed(path.read_text())))
    return folder


def test_the_header_says_how_to_read_the_rest_and_versions_up_to_today_are_read(tmp_path):
    save_checkpoint(tmp_path / "deep" / "er" / "c", {"a": 1})
    path = tmp_path / "deep" / "er" / "c" / STRUCTURE
    header = json.loads(path.read_text())
    assert (header["format"], header["version"]) == ("engram-checkpoint", 3)
    for version in (1, 2, 3):
        path.write_text(json.dumps(header | {"version": version}))
        assert load_checkpoint(path.parent) == {"a": 1}
    for version in (0, 4, None):
        path.write_text(json.dumps(header | {"version": version}))
        with pytest.raises(UsageError, match=f"version {version}; this code reads versions up to 3"):
            load_checkpoint(path.parent)
    for missing in ("sha256", "state", "format"):
        path.write_text(json.dumps({name: value for name, value in header.items() if name != missing}))
        with pytest.raises(UsageError, match="not written by this project"):
            load_checkpoint(path.parent)
    for foreign in ([], 5, header | {"format": "another"}, header | {"format": "zzz"}):
        path.write_text(json.dumps(foreign))
        with pytest.raises(UsageError, match="not written by this project"):
            load_checkpoint(path.parent)


def unsealed(text):
    """As files were before the digest of their structure was kept."""
    return json.dumps({name: value for name, value in json.loads(text).items() if name != "state_sha256"})


@pytest.mark.parametrize("change", [{"step": 8}, {"step": None}, {"more": 1}, {}, {"best": [1.0, 3]}, {"step": 7.0}])
def test_a_structure_that_was_changed_is_damage_however_well_it_reads(tmp_path, change):
    state = {"step": 7, "best": [1.0, 2], "name": "ä", "odd": float("inf"), 3: {"deep": (1, "2")}}
    save_checkpoint(tmp_path / "c", state)
    path = tmp_path / "c" / STRUCTURE
    header = json.loads(path.read_text())
    assert load_checkpoint(tmp_path / "c") == state
    pairs = [[key, change.get(key, value)] for key, value in header["state"]["dict"]]
    pairs += [[key, value] for key, value in change.items() if key not in state]
    header["state"]["dict"] = pairs if change else pairs[1:]
    path.write_text(json.dumps(header))
    with pytest.raises(UsageError, match=rf"checkpoint file .*{STRUCTURE} is damaged: its content is not what was"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    "node",
    ['{"tensor": "b"}', '{"array": "b"}', '{"dict": 5}', '{"list": 5}', '{"list": [], "dict": []}', "{}"],
)
def test_a_structure_that_makes_no_sense_is_damage(tmp_path, node):
    folder = edited(tmp_path / "c", lambda text: text.replace('{"tensor": "/a"}', node))
    with pytest.raises(UsageError, match=rf"checkpoint file .*{TENSORS} is damaged: .*\. Nothing was changed"):
        load_checkpoint(folder)


@pytest.mark.parametrize("depth", [10, 150, 300, 450, 600, 900, 5_000, 50_000])
def test_a_structure_of_any_depth_is_read_or_refused(tmp_path, depth):
    node = '{"list": [' * depth + "1" + "]}" * depth
    folder = edited(tmp_path / "c", lambda text: text.replace('{"tensor": "/a"}', node))
    try:
        read = load_checkpoint(folder)["a"]
    except UsageError as error:
        assert "is damaged" in str(error) and depth > 10
    else:
        assert depth < 5_000 and len(read) == 1


def test_files_that_are_no_text_or_not_there_are_named(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    (tmp_path / "c" / STRUCTURE).write_bytes(b'{"\xff": 1}')
    with pytest.raises(UsageError, match=f"{STRUCTURE} is damaged"):
        load_checkpoint(tmp_path / "c")
    save_checkpoint(tmp_path / "c", STATE)
    (tmp_path / "c" / TENSORS).unlink()
    with pytest.raises(UsageError, match=f"{TENSORS} is damaged: its content is not what was saved"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("names", "damaged", "remedy"),
    [
        ((1,), 1, "No other checkpoint is beside it."),
        ((1, 2, 3), 3, "Remove {} to go on from step_000000000002."),
        ((1, 2, 3), 2, "Remove {} to go on from step_000000000003."),
    ],
)
def test_damage_is_told_with_what_there_is_to_go_on_from(tmp_path, names, damaged, remedy):
    folders = {name: tmp_path / f"step_{name:012d}" for name in names}
    for folder in folders.values():
        save_checkpoint(folder, STATE)
    (folders[damaged] / TENSORS).write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        load_checkpoint(folders[damaged])
    assert str(caught.value).endswith(f"Nothing was changed. {remedy.format(folders[damaged])}")


def test_numbers_of_numpy_are_saved_as_plain_ones_and_a_state_need_be_no_dict(tmp_path):
    state = [np.float32(1.5), np.int64(3), np.bool_(True), (None, "text"), {"deep": torch.ones(2, requires_grad=True)}]
    save_checkpoint(tmp_path / "c", state)
    read = load_checkpoint(tmp_path / "c")
    assert equal(read, [1.5, 3, True, (None, "text"), {"deep": torch.ones(2)}])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1.5: 1}}, r"strings or integers, not float \(at /a\)"),
        ({"a": {(1, 2): 1}}, r"strings or integers, not tuple \(at /a\)"),
        ({"a": [1, {"b": {1, 2}}]}, r"cannot hold set \(at /a/1/b\)"),
        ({"a": 1j}, r"cannot hold complex \(at /a\)"),
        (object(), r"cannot hold object \(at the top\)"),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_place(tmp_path, state, message):
    with pytest.raises(UsageError, match=message):
        save_checkpoint(tmp_path / "c", state)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("before", "rest"), [((), "none"), ((1, 2), "intact: step_000000000002")])
def test_a_checkpoint_that_cannot_be_written_says_what_is_left(tmp_path, monkeypatch, before, rest):
    def full(*given):
        raise OSError(28, "No space left on device")

    checkpoints = tmp_path / "checkpoints"
    for step in before:
        save_checkpoint(checkpoints / f"step_{step:012d}", {"a": step})
    monkeypatch.setattr("engram_rl.training.runs.checkpoint.save_file", full)
    with pytest.raises(UnwritableError, match=f"Earlier checkpoints are {rest}. Make room.*train resume={tmp_path}$"):
        save_checkpoint(checkpoints / "step_000000000003", {"a": 3})
    assert len(list(checkpoints.iterdir())) == len(before)


def test_a_place_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match=r"could not be written: .*(File exists|Not a directory)"):
        save_checkpoint(tmp_path / "file" / "c", {"a": 1})


def test_what_the_system_keeps_open_stops_no_save(tmp_path, monkeypatch):
    def busy(path, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, "it is being used by another process")

    (tmp_path / ".c.123.tmp").mkdir()
    save_checkpoint(tmp_path / "c", {"a": 1})
    (tmp_path / ".c.123.tmp").mkdir()
    monkeypatch.setattr(shutil, "rmtree", busy)
    save_checkpoint(tmp_path / "c", {"a": 2})
    assert load_checkpoint(tmp_path / "c") == {"a": 2}


def test_content_reaches_the_disk_before_the_name_does(tmp_path, monkeypatch):
    synced = []

    def sync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        assert (tmp_path / "c").exists() == (synced[-1] == tmp_path)

    monkeypatch.setattr(os, "fsync", sync)
    save_checkpoint(tmp_path / "c", STATE)
    unfinished = tmp_path / f".c.{os.getpid()}.tmp"
    assert synced == [unfinished / TENSORS, unfinished / STRUCTURE, unfinished, tmp_path]


def test_parts_whose_places_read_alike_are_saved_apart(tmp_path):
    state = {"a/b": torch.tensor([1.0]), "a": {"b": torch.tensor([2.0])}, 3: np.zeros(1), "3": np.ones(1)}
    save_checkpoint(tmp_path / "step", state)
    found = load_checkpoint(tmp_path / "step")
    assert [found["a/b"].item(), found["a"]["b"].item(), found[3].item(), found["3"].item()] == [1, 2, 0, 1]
