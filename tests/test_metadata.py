"""What the project says of itself is one thing everywhere."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_what_is_said_of_pythons_is_what_is_required():
    least = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])[1]
    said = sorted(int(one) for line in PROJECT["classifiers"] for one in re.findall(r"Python :: 3\.(\d+)$", line))
    assert said[0] == int(least) and len(said) >= 3


def test_every_extra_is_explained():
    told = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [extra for extra in PROJECT["optional-dependencies"] if f"`{extra}`" not in told] == []


def test_workflows_name_what_there_is():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for script in re.findall(r"(\S+/\w+(?:\.py|/run))\b", " ".join(commands)):
        assert (ROOT / script).exists() or "elsewhere" in script, script
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(commands)):
        assert set(extra.split(",")) <= PROJECT["optional-dependencies"].keys()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [hook["language"] for repo in hooks["repos"] for hook in repo["hooks"]] == ["system"] * 3
