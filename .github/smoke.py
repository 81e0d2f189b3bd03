"""What a newcomer does, from an installed wheel in a folder of their own: `python smoke.py` takes about a minute."""

import subprocess
import sys
from pathlib import Path


def engram(*words: str) -> str:
    """Run a command; what it printed."""
    done = subprocess.run([sys.executable, "-m", "engram_rl", *words], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"engram {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def main() -> None:
    """Train, resume, evaluate, compare, report; then the memory alone."""
    tiny = ("agent=mfec", "env=cartpole", "progress=false", "evaluation.episodes=2", "agent.memory.capacity=500")
    assert "TensorBoard" in engram("train", *tiny, "steps=800", "seed=1")
    assert "TensorBoard" in engram("train", *tiny, "steps=800", "seed=2", "name=second")
    engram("train", "resume=latest", "steps=1200", "progress=false")
    assert "trained" in engram("evaluate", "run=latest", "episodes=2")
    assert "2 runs" in engram("compare", "runs")
    engram("report", "run=latest")
    assert Path("comparison.png").is_file() and list(Path("runs").glob("*/report.html"))
    import torch

    from engram_rl.memory import DifferentiableNeuralDictionary

    memory = DifferentiableNeuralDictionary(4, value_dim=1, capacity=100, k=3)
    memory.write(torch.randn(50, 4), torch.randn(50, 1))
    assert memory.lookup(torch.randn(2, 4)).value.shape == (2, 1)
    print(f"Works: Python {sys.version.split()[0]} on {sys.platform}")


if __name__ == "__main__":
    main()
