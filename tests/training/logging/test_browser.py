"""TensorBoard, in a real browser, shows what a run wrote for it."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.screenshots import PAGES, missing, shoot
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.runs.folder import RunFolder

CONF = Path(train.__file__).parents[1] / "conf"


@pytest.mark.skipif(bool(missing()), reason=f"needs Chromium, its driver and selenium: {missing()}")
@pytest.mark.filterwarnings("ignore")
def test_layout_curves_and_images_are_shown(tmp_path):
    prepare()
    given = ["agent=mfec", "env=hiddengoal", "steps=400", "log.every=100", "progress=false", "evaluation.episodes=1"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", given)
    train.train(config, RunFolder(tmp_path / "run"))
    pages = ["timeseries", "custom_scalars"]
    assert shoot(tmp_path / "run", tmp_path / "pictures", pages, "value", wait=90) == {}
    for page in pages:
        assert (tmp_path / "pictures" / f"tensorboard_{page}.png").stat().st_size > 10_000
    assert set(pages) < set(PAGES)
