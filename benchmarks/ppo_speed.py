"""Steps a second of on-policy agents, training included, beside Stable-Baselines3's PPO with the same values."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.configuration import environment_config, plain, value_of
from benchmarks.control.baselines import build_model
from benchmarks.control.runs import ControlRun, resolve_agent
from benchmarks.control.zoo import OURS
from benchmarks.runs import Row
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step
from engram_rl.training.seeding import seed_everything

THEIRS = "sb3_ppo"
QUICK = "sb3_ppo, MiniGrid's view as quick as ours"
FEWEST = 5  # rollouts of each that are timed, however short the time


@dataclass(frozen=True)
class Entrant:
    """Somebody who takes part.

    Attributes:
        name: As given on the command line.
        play: Acts, steps and learns for one rollout and its update.
        steps: Environment steps of that.
    """

    name: str
    play: Callable[[], None]
    steps: int


def is_on_policy(settings: dict[str, Any]) -> bool:
    """Whether an agent's settings are those of our PPO, or of an agent built on it."""
    return "num_steps" in settings and "gae_lambda" in settings


def time_side_by_side(env: str, options: dict[str, Any], agents: list[str], seconds: float) -> list[Row]:
    """A row for each agent and one for Stable-Baselines3's, with the values of the first.

    Stable-Baselines3's has the environments as Gymnasium makes them, which is what it is compared by; where ours step
    faster with the same observations (`engram_rl.envs.minigrid_view`), it is timed on these too. All take turns, a
    rollout and its update at a time, so that whatever else the machine does slows each alike. Rates are medians.

    Args:
        env: A name of conf/env or a registered id.
        options: Values of the environment that replace those of its YAML.
        agents: Names of conf/agent, each with values of its own after it.
        seconds: That each is timed for, after one turn to warm up.
    """
    entrants = [ours(env, options, agent) for agent in agents]
    entrants = [*theirs(env, options, agents[0]), *entrants]
    taken = take_turns([entrant.play for entrant in entrants], seconds * len(entrants))
    rates = {one.name: one.steps / float(np.median(times)) for one, times in zip(entrants, taken, strict=True)}
    return [
        {
            "agent": name,
            "steps_per_second": round(rate, 1),
            "times_sb3": round(rate / rates[THEIRS], 2),
            "rollouts": len(times),
            "env": env,
            "env_options": options,
        }
        for (name, rate), times in zip(rates.items(), taken, strict=True)
    ]


def take_turns(plays: list[Callable[[], None]], seconds: float) -> list[list[float]]:
    """What each turn of each player took, in seconds."""
    for play in plays:
        play()
    taken: list[list[float]] = [[] for _ in plays]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < FEWEST:
        for times, play in zip(taken, plays, strict=True):
            began = time.perf_counter()
            play()
            times.append(time.perf_counter() - began)
    return taken


def ours(env: str, options: dict[str, Any], given: str) -> Entrant:
    """One of our agents on the environment as given."""
    seed_everything(0)
    environments = build_environments(OmegaConf.create(environment_config(env, options)))
    settings = resolve_agent(given, env)
    agent = build_agent(OmegaConf.create(settings), environments, seed=0)
    observation, _ = environments.reset(seed=0)

    def play() -> None:
        nonlocal observation
        for _ in range(settings["num_steps"]):
            transition = step(environments, observation, agent.act(observation))
            agent.observe(transition)
            agent.learn()
            observation = transition.reset_observation

    return Entrant(given, play, settings["num_steps"] * environments.num_envs)


def theirs(env: str, options: dict[str, Any], given: str) -> list[Entrant]:
    """Stable-Baselines3's PPO on as many environments, as it vectorises them, with the values of one of our agents."""
    stock, quick = (their_model(env, options, given) for _ in range(2))
    steps = stock.n_steps * stock.n_envs
    entrants = [Entrant(THEIRS, lambda: stock.learn(steps, reset_num_timesteps=False), steps)]
    if slowed(stock):
        entrants.append(Entrant(QUICK, lambda: quick.learn(steps, reset_num_timesteps=False), steps))
    return entrants


def slowed(model: Any) -> bool:
    """Give a model's environments their own view back; whether they had another."""
    taken = [vars(environment.unwrapped).pop("gen_obs", None) for environment in model.get_env().unwrapped.envs]
    return any(taken)


def their_model(env: str, options: dict[str, Any], agent: str) -> Any:
    """Stable-Baselines3's model with the values of one of our agents."""
    seed_everything(0)
    environment = environment_config(env, options)
    settings = resolve_agent(agent, env)
    given = {name: value_of(settings, ours) for ours, (name, _) in OURS.items()}
    chosen = {name: value["start"] if isinstance(value, dict) else value for name, value in given.items()}
    chosen |= {"normalize": bool(chosen["normalize"]), "n_envs": environment["num_envs"]}
    chosen |= {"net_arch": list(settings["hidden"])}
    return build_model(ControlRun(env, environment, THEIRS, plain(OmegaConf.create(chosen)), seed=0, steps=0))
