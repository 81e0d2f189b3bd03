"""What a run shows: curves however short, a layout, hyper-parameters, a video, and the memory as a cloud."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from benchmarks.same_run import differences
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.logging.logger import RunLogger, read_rows
from engram_rl.training.logging.projector import CONFIG, KEYS, METADATA, entries
from engram_rl.training.logging.tensorboard import LAYOUT, add_hyperparameters, flat
from engram_rl.training.logging.video import FRAMES, SIDE, contact_sheet, gif
from engram_rl.training.runs.folder import RunFolder

CONF = Path(train.__file__).parents[1] / "conf"
TINY = ["progress=false", "evaluation.every=0", "evaluation.episodes=1", "agent.memory.capacity=200"]


def run(folder, *overrides, resume=False):
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*TINY, *overrides])
    stored = RunFolder(folder)
    train.train(config, stored, stored.load_checkpoint() if resume else None)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run shorter than `log.every`, on an environment whose target shifts."""
    return run(tmp_path_factory.mktemp("run"), "agent=mfec", "env=hiddengoal", "steps=400", "log.every=1000")


@pytest.fixture(scope="module")
def events(done):
    return EventAccumulator(str(done), size_guidance={"images": 0}).Reload()


def test_a_run_shorter_than_an_interval_leaves_points(done, events):
    assert events.Scalars("memory/size")[-1].step == 400
    assert events.Scalars("env/task_index")
    (row,) = read_rows(done / "metrics.jsonl")
    assert row["time/rss_mb"] > 50


def test_the_interval_that_the_end_cut_short_is_whole_in_a_continued_run(tmp_path):
    quiet = ("agent=mfec", "env=shiftwall", "log.video=false", "log.memory=false", "log.every=300")
    run(tmp_path / "whole", *quiet, "steps=480")
    run(tmp_path / "parts", *quiet, "steps=240")
    run(tmp_path / "parts", *quiet, "steps=480", resume=True)
    run(tmp_path / "parts", *quiet, "steps=480", resume=True)  # killed between its last checkpoint and its end
    assert differences(tmp_path / "whole", tmp_path / "parts") == []
    assert [row["step"] for row in read_rows(tmp_path / "parts" / "metrics.jsonl")] == [304, 480]


def test_return_stands_beside_task_index_and_memory_in_the_layout(events):
    (stored,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(stored.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    first = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert "rollout/ep_rew_mean" in first["return"]
    assert "env/task_index" in first["task index"]


def test_the_curves_of_the_layout_exist(events):
    shown = {tag for charts in LAYOUT.values() for _, tags in charts.values() for tag in tags}
    logged = set(events.Tags()["scalars"])
    assert {"rollout/ep_rew_mean", "env/task_index", "memory/size", "memory/strength", "time/fps"} <= shown & logged
    memory = {tag for tag in logged if tag.startswith("memory/")}
    assert all(any(re.fullmatch(pattern, tag) for pattern in shown) for tag in memory)


def test_hyperparameters_stand_beside_the_final_metric(done, events):
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= events.summary_metadata.keys()
    (score,) = events.Scalars("hparam/score")
    assert score.value == pytest.approx(json.loads((done / "summary.json").read_text())["score"], rel=1e-5)
    described = flat(RunFolder(done).config())
    assert described["agent.memory.capacity"] == 200
    assert described["env.id"] == "engram/HiddenGoal-v0"


def test_what_describes_a_run_is_of_agent_environment_and_seed_in_plain_values():
    config = OmegaConf.create(
        {
            "agent": {"_target_": "B", "_partial_": True, "rate": {"_target_": "c", "by": "${seed}"}, "sizes": [6, 4]},
            "env": {"id": "X-v0", "kwargs": {"fast": True, 3: None}, "none": {}},
            "seed": 5, "steps": 1.5e3, "log": {"every": 10}, "tags": ["a"],
        }
    )  # fmt: skip
    described = {
        "agent.rate": "c", "agent.rate.by": 5, "agent.sizes": "[6, 4]", "env.id": "X-v0", "env.kwargs.fast": True,
        "env.kwargs.3": "None", "seed": 5, "steps": 1500.0,
    }  # fmt: skip
    assert flat(config) == described and type(flat(config)["env.kwargs.fast"]) is bool
    assert flat(OmegaConf.create({"seed": 1})) == {"seed": 1}


def test_a_continued_runs_hyperparameters_replace_those_of_the_run_before(tmp_path):
    for score in (1.0, 2.0):
        add_hyperparameters(tmp_path, OmegaConf.create({"seed": 1}), {"hparam/score": score}, 10)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.tfevents.") and file.name.endswith(".hparams")
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("hparam/score")] == [(10, 2.0)]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= found.summary_metadata.keys()


def test_an_episode_is_recorded_for_the_folder_and_for_tensorboard(done, events):
    with Image.open(done / "episode.gif") as video:
        assert video.n_frames > 1
    (shown,) = events.Images("episode/video")
    assert shown.encoded_image_string.startswith(b"GIF8")
    assert events.Images("episode/frames")


def test_the_memory_is_laid_out_for_the_projector(done):
    keys = (done / KEYS).read_text().splitlines()
    header, *rows = (done / METADATA).read_text().splitlines()
    assert header.split("\t") == ["value", "strength", "hits", "action", "age", "task_index"]
    assert len(keys) == len(rows) > 10
    assert {len(key.split("\t")) for key in keys} == {64}
    ages = [float(row.split("\t")[4]) for row in rows]
    assert 0 <= min(ages) <= max(ages) <= 400
    assert f'tensor_path: "{KEYS}"' in (done / CONFIG).read_text()


def test_a_transition_memory_shows_its_states(tmp_path):
    folder = run(tmp_path, "agent=fast_slow", "env=shiftwall", "steps=200", "log.video=false")
    header, *rows = (folder / METADATA).read_text().splitlines()
    assert header.split("\t") == ["value", "strength", "actions_known", "owner", "age", "task_index"]
    assert len((folder / KEYS).read_text().splitlines()[0].split("\t")) == 2
    assert len(rows) > 10


def test_an_agent_without_a_memory_has_nothing_to_lay_out():
    class Agent:
        def __init__(self):
            self.weights = [1.0]

    assert entries(Agent()) is None


def test_a_video_is_small_and_few_frames_and_keeps_first_and_last():
    frames = [np.full((600, 400, 3), value % 256, np.uint8) for value in range(1000)]
    with Image.open(io.BytesIO(gif(frames))) as video:
        assert video.n_frames <= FRAMES
        assert max(video.size) <= SIDE
    sheet = contact_sheet(frames, count=3)
    assert sheet.shape[0] == SIDE
    assert sheet[0, -1, 0] == frames[-1][0, 0, 0]


def test_a_closing_row_is_written_only_where_steps_are_missing(tmp_path):
    logger = RunLogger(tmp_path)
    logger.record({"train/loss": 1.0})
    logger.write(100)
    logger.write(100, closing=True)
    logger.close()
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 1


def test_what_is_recalled_is_drawn_every_so_often_by_agents_that_tell(tmp_path):
    quiet = ("env=newgoal_searched", "steps=256", "log.video=false", "log.memory=false", "log.retrieved=128")
    for agent, pictures in (("retrieval_ppo", [128, 256]), ("mfec", [])):
        folder = run(tmp_path / agent, f"agent={agent}", *quiet)
        shown = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
        events = shown.Images("memory/retrieved") if "memory/retrieved" in shown.Tags()["images"] else []
        assert [event.step for event in events] == pictures
