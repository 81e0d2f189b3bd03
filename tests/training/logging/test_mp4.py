"""MP4 holds every frame, in even sides, whatever the frames' own."""

import numpy as np
import pytest

from engram_rl.training.logging import closing, video
from engram_rl.training.logging.video import has_encoder, write_mp4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # theirs
@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97), (240, 31), (1, 1)])
def test_every_frame_is_there_and_looks_as_it_did(height, width, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    assert has_encoder()
    frames = [np.full((height, width, 3), (20 * n, 40, 250 - 20 * n), np.uint8) for n in range(10)]
    frames[4] = np.full((height + 2, width + 4, 3), frames[4][0, 0], np.uint8)  # one of another size
    write_mp4(frames, tmp_path / "a.mp4")
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert count == 10 and seconds == pytest.approx(0.8, abs=0.1)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    size = next(reader)["size"]
    assert size == tuple(max(side - side % 2, 2) for side in (width, height))
    for frame, content in zip(frames, reader, strict=True):
        seen = np.frombuffer(content, np.uint8).reshape(size[1], size[0], 3).mean(axis=(0, 1))
        np.testing.assert_allclose(seen, frame[0, 0], atol=12)  # colours are kept at half the resolution


def test_without_an_encoder_there_is_the_gif_alone(monkeypatch):
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    assert not closing.has_encoder()
