"""The compressive transformer (Rae et al. 2020, arXiv 1911.05507): what leaves the window is kept in fewer numbers."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engram_rl.memory.cores import band
from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.transformer import Attention, Layer, Older


class CompressiveTransformer(Core):
    """A transformer that attends to the last steps, and to a summary of those that went before.

        [C^l; M^l; E^l]    is what layer l attends to: compressed entries, past inputs of the layer, the present one
        M^l is full:       its oldest S steps leave, and C^l takes in f^l(those S) = S / c entries, its oldest leave
        f^l                convolution over time of width c and stride c ("most effective", section 3.1)
        loss               sum_l |attention(h, old) - attention(h, f^l(old))|^2, by content alone        (algorithm 2)

    with h the layer's inputs that are still in M^l. The loss is emitted as "compression" and reaches f alone: all
    else in it is a constant. It is a mean over steps, and 0 at those where nothing leaves.

    Its layers are GTrXL's, gates and all. The paper keeps segments of N steps, so a step sees N to 2 N of them; here it
    sees N - S to N. Within one call gradients flow through
    all of the memory, so a distant output teaches f as well; the paper cuts them at a segment's edge.

    Args:
        input_size: D.
        hidden_size: H, of activations, and numbers in an output.
        window: N, past steps at most that a layer attends to one by one.
        compressed: Entries that are kept of the steps before those.
        compression: c, steps in an entry.
        leaving: S, steps that are compressed at once, a multiple of c; half the window by default.
        layers: L.
        heads: Of attention.
        gate_bias: How firmly a layer passes its input on at first.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        window: int = 32,
        compressed: int = 32,
        compression: int = 4,
        leaving: int | None = None,
        layers: int = 2,
        heads: int = 4,
        gate_bias: float = 2.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, window=window, compressed=compressed, compression=compression, layers=layers, heads=heads)
        self.leaving = max(compression, window // 2 // compression * compression) if leaving is None else leaving
        require_sizes(self, leaving=self.leaving)
        if self.leaving % compression or self.leaving > window or self.leaving // compression > compressed:
            raise ValueError(
                f"{self._name} compresses leaving={self.leaving} steps at once; that must be a multiple of "
                f"compression={compression}, at most window={window}, and give at most compressed={compressed} entries"
            )
        self.window, self.compressed, self.compression = window, compressed, compression
        self.embedding = linear(input_size, hidden_size)
        self.layers = nn.ModuleList(Layer(hidden_size, heads, gate_bias) for _ in range(layers))
        self.compressors = nn.ModuleList(
            nn.Conv1d(hidden_size, hidden_size, compression, stride=compression) for _ in range(layers)
        )

    def _initial(self, batch_size: int, like: Tensor) -> State:
        layers, none = len(self.layers), torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        return {
            "window": like.new_zeros(batch_size, layers, self.window, self.output_size),  # the newest last
            "count": none,  # steps of the window that have not left
            "compressed": like.new_zeros(batch_size, layers, self.compressed, self.output_size),  # the newest last
            "entries": none.clone(),  # of the compressed that hold something
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, loss = self._steps(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, {"compression": loss}

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, losses, start = [], [], 0
        while start < len(xs):
            end = start + self.window + 1 - int(state["count"].max())  # some row's window is full at the last of these
            output, state, loss = self._steps(xs[start:end], state)
            outputs.append(output)
            losses.append(loss)
            start = end
        return torch.cat(outputs), state, {"compression": torch.stack(losses).sum() / len(xs)}

    def _steps(self, xs: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        """Steps of which none but the last may find a full window; the sum of their losses. `[T, B, D]`."""
        steps, count, entries = len(xs), state["count"], state["entries"]
        outside = band.unseen(count, steps, self.window + 1)
        empty = band.ages(self.compressed, xs.device) >= entries.unsqueeze(1)
        activations, pasts = self.embedding(xs).transpose(0, 1), []  # [B, T, H]
        for layer, before, older in zip(
            self.layers, state["window"].unbind(1), state["compressed"].unbind(1), strict=True
        ):
            pasts.append(torch.cat([before, activations], 1))  # [B, N + T, H]
            activations = layer(pasts[-1], outside, Older(older, self._ages(xs), empty))
        past = torch.stack(pasts, 1)[:, :, -self.window - 1 :]  # [B, L, N + 1, H], at the last step
        full = count + (steps - 1) == self.window
        compressed, loss = state["compressed"], xs.new_zeros(())
        if full.any():
            compressed, loss = self._compress(past, compressed, full)
        new = self.leaving // self.compression
        after = {
            "window": past[:, :, 1:],
            "count": count + steps - self.leaving * full,
            "compressed": compressed,
            "entries": (entries + new * full).clamp_max(self.compressed),
        }
        return activations.transpose(0, 1), after, loss

    def _ages(self, like: Tensor) -> Tensor:
        """How many steps ago compressed entries are on average, the oldest first. `[C]`."""
        seen = self.window - (self.leaving - 1) / 2  # steps of the window, on average
        return (
            band.ages(self.compressed, like.device).to(like.dtype) * self.compression
            + seen
            + (self.compression + 1) / 2
        )

    def _compress(self, past: Tensor, compressed: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
        """The compressed entries where the window is full, and the loss. `[B, L, N + 1, H]`, `[B, L, C, H]`, `[B]`."""
        leaves, stays = past[:, :, : self.leaving], past[:, :, self.leaving :].detach()
        entries, losses = [], []
        for level, compressor in enumerate(self.compressors):
            old, layer = leaves[:, level], cast(Layer, self.layers[level])
            entries.append(compressor(old.mT).mT)  # [B, S / c, H]
            short = compressor(old.detach().mT).mT
            queries, old, short = (constant(layer.norm, part) for part in (stays[:, level], old.detach(), short))
            wanted, got = (by_content(layer.attention, queries, rows) for rows in (old, short))
            losses.append((wanted - got).square().mean((1, 2, 3)) * full)
        new = torch.stack(entries, 1)
        kept = torch.cat([compressed[:, :, new.shape[2] :], new], 2)
        return torch.where(full.reshape(-1, 1, 1, 1), kept, compressed), torch.stack(losses).sum(0).mean()

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of the compressed entries that are filled."""
        return {"usage": state["entries"].to(state["window"].dtype) / self.compressed}


def constant(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A layer's norm, of which x is all that is differentiated."""
    return nn.functional.layer_norm(x, norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps)


def by_content(attention: Attention, queries: Tensor, rows: Tensor) -> Tensor:
    """What is read of rows without their ages, of which the rows are all that is differentiated. `[B, h, T, d]`."""
    query, key, value = (
        attention.split(x @ layer.weight.detach().mT)
        for layer, x in ((attention.query, queries), (attention.key, rows), (attention.value, rows))
    )
    return nn.functional.scaled_dot_product_attention(query, key, value)
