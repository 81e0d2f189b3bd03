"""What `--help` takes from the comments of YAML files: places, comments to their ends, and what is inherited."""

from types import SimpleNamespace

import pytest

from engram_rl.training.configuration import teaching
from engram_rl.training.configuration.teaching import explained


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Ours and a user's; what is chosen is put into `choices`."""
    ours, mine, choices = tmp_path / "ours", tmp_path / "mine", {}
    sources = [
        SimpleNamespace(schema="pkg", path="hydra.conf"),
        SimpleNamespace(schema="file", path=str(mine)),
        SimpleNamespace(schema="structured", path=""),
    ]
    hydra = SimpleNamespace(runtime=SimpleNamespace(choices=choices, config_sources=sources))
    monkeypatch.setattr(teaching, "CONF", ours)
    monkeypatch.setattr(teaching.HydraConfig, "get", lambda: hydra)

    def write(name, text):
        for folder in (ours, mine):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ((mine if name.startswith("my/") else ours) / name.removeprefix("my/")).write_text(text)

    (mine / "agent").mkdir(parents=True)
    return write, choices


TOP = """\
# a comment of its own  # with another
seed: 1  # of everything
log:  # the curve
  every: 100  # environment steps
              # between two points

  deep:
    er: # not this: one blank
      one: 2  #  how deep
      # not deeper than it
    two: 3  # two
  three: {a: 1}  # of three  # signs
not-a-word: 3  # left out
plain: 3 # nor this
last: 3  # at
  # the
   # end
"""


def test_comments_are_beside_their_places(folders):
    write, _ = folders
    write("top.yaml", TOP)
    assert explained("top").splitlines() == [
        "  seed             of everything",
        "  log              the curve",
        "  log.every        environment steps between two points",
        "  log.deep.er.one  how deep",
        "  log.deep.two     two",
        "  log.three        of three  # signs",
        "  last             at the end",
    ]


def test_what_is_chosen_is_explained_with_what_it_inherits(folders):
    write, choices = folders
    write("top.yaml", "seed: 1  # of everything\n")
    write("agent/base.yaml", "k: 1  # neighbours\nn: 2  # steps\n")
    write("my/agent/nec.yaml", "defaults: [base, _self_, {memory: x}]\nn: 3  # as I like it\nnew: 3  # mine\n")
    write("agent/nec.yaml", "k: 1  # ours, which yours hides\n")
    write("env/maze.yaml", "# @package _global_\nenv:\n  id: x  # which maze\n")
    write("core/gru.yaml", "# @package agent.core\nsize: 3  # of the state\n")
    write("part/a.yaml", "one: 3  # put elsewhere\n")
    write("deep/part/b.yaml", "two: 3  # deep\n")
    write("list/c.yaml", "- 3  # a list\n")
    choices |= {"env": "maze", "agent": "nec", "core": "gru", "part@other.place": "a", "deep/part": "b", "list": "c"}
    choices |= {"logger": None, "hydra/launcher": "basic", "gone": "nowhere"}
    write("hydra/launcher/basic.yaml", "n: 1  # not ours\n")
    assert [line.split(maxsplit=1) for line in explained("top").splitlines()] == [
        ["seed", "of everything"],
        ["env.id", "which maze"],
        ["agent.k", "ours, which yours hides"],
        ["agent.core.size", "of the state"],
        ["other.place.one", "put elsewhere"],
        ["deep.part.two", "deep"],
    ]
    choices["agent"] = "mine"
    write("my/agent/mine.yaml", "defaults: [base, _self_, {memory: x}]\nn: 3  # as I like it\nnew: 3  # mine\n")
    found = dict(line.split(maxsplit=1) for line in explained("top").splitlines())
    assert (found["agent.k"], found["agent.n"], found["agent.new"]) == ("neighbours", "as I like it", "mine")
    lines = explained("top").splitlines()
    assert len({line.rindex(line.split(maxsplit=1)[1]) for line in lines}) == 1  # one below another


def test_nothing_is_said_where_nothing_is_commented_on(folders):
    write, _ = folders
    write("top.yaml", "seed: 1\n")
    assert explained("top") == ""
