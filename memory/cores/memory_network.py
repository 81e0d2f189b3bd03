"""The end-to-end memory network (Sukhbaatar et al. 2015, arXiv 1503.08895)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores import band
from engram_rl.memory.cores.addressing import entropy, linear, mean_age
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class MemoryNetwork(Core):
    """Every input takes a slot of its own, and a question is asked of all slots several times over.

        u^1     = B x_t + b
        p^k_i   = softmax over i of u^k . (E^k x_i + T^k[t - i])            (1)
        o^k     = sum_i p^k_i (E^{k+1} x_i + T^{k+1}[t - i])                (2)
        u^{k+1} = u^k + o^k                                                 (4)
        y       = W u^{K+1}                                                 (3)

    over the steps i of this episode, the present one t included, up to N of them. What is read at one hop is what is
    compared at the next ("adjacent" sharing, section 2.2), and T encodes how long ago a step was (section 4.1). The
    question is the present input, by a map of its own with a bias, so that an input of zeros asks something too.

    Args:
        input_size: D.
        hidden_size: H, of the embeddings, and numbers in an output.
        slots: N, steps that are kept.
        hops: K, reads one after the other.
    """

    reads_by = "age"

    def __init__(self, input_size: int, hidden_size: int, slots: int = 64, hops: int = 3) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, slots=slots, hops=hops)
        self.slots, self.hops = slots, hops
        self.question = linear(input_size, hidden_size)  # B
        nn.init.normal_(self.question.bias, std=0.1)
        self.embeddings = nn.Parameter(0.1 * torch.randn(hops + 1, input_size, hidden_size))  # E
        self.times = nn.Parameter(0.1 * torch.randn(hops + 1, slots, hidden_size))  # T, of age 0 first
        self.output = linear(hidden_size, hidden_size)  # W

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "entries": like.new_zeros(batch_size, self.slots, self.input_size),  # the newest last
            "count": torch.zeros(batch_size, dtype=torch.int64, device=like.device),  # that hold something
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        entries = torch.cat([state["entries"][:, 1:], xs.transpose(0, 1)], 1)  # [B, N - 1 + T, D]
        outputs, _ = self._hops(entries, state["count"], len(xs))
        after = {
            "entries": entries[:, -self.slots :],
            "count": (state["count"] + len(xs)).clamp_max(self.slots),
        }
        return self.output(outputs).transpose(0, 1), after, {}

    def _hops(self, entries: Tensor, count: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The last u `[B, T, H]` of the last `steps` entries, and what each hop read, the oldest first. `[K, B, T, N]`.

        Args:
            entries: The steps that are kept, up to the last. `[B, N - 1 + T, D]`
            count: Steps of the episode before the first that reads. `[B]`
            steps: T.
        """
        outside = band.unseen(count, steps, self.slots)
        embedded = torch.einsum("bnd,kdh->kbnh", entries, self.embeddings)
        times = self.times.flip(1)  # [K + 1, N, H], the oldest first
        u, read = self.question(entries[:, -steps:]), []
        for hop in range(self.hops):
            scores = band.of_the_band(u @ embedded[hop].mT, self.slots) + u @ times[hop].mT
            weights = scores.masked_fill(outside, -torch.inf).softmax(-1)  # [B, T, N]
            u = u + band.along_the_band(weights) @ embedded[hop + 1] + weights @ times[hop + 1]
            read.append(weights)
        return u, torch.stack(read)

    def _read_weights(self, state: State) -> Tensor:
        """What was read at the step that led to a state, of age 0 first. `[B, K, N]`."""
        _, read = self._hops(state["entries"], (state["count"] - 1).clamp_min(0), 1)
        return read.squeeze(2).transpose(0, 1).flip(-1)

    @torch.no_grad()
    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of the slots that are filled."""
        weights = self._read_weights(state)
        ages = torch.arange(self.slots, device=weights.device).expand(len(weights), -1)
        return {
            "read_entropy": entropy(weights).mean(-1),
            "read_age": mean_age(weights, ages),
            "usage": state["count"].to(weights.dtype) / self.slots,
        }
