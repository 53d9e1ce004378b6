"""Tutorial form of BRA."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn import blocks
from yolo_attn.bench.tutorial.convolutional import like


class TutorialBRA(nn.Module):
    """BRA: a permutation each for queries, keys and values, ``gather`` with an expanded index, the whole matrix."""

    def __init__(self, block: blocks.BRA) -> None:
        super().__init__()
        self.num_heads, self.n_win, self.topk = block.heads, block.regions, block.topk
        self.qkv_linear, self.lepe, self.output_linear = like(block.qkv), like(block.local), like(block.out)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        rh, rw = -(-h // self.n_win), -(-w // self.n_win)
        q, k, v = self.qkv_linear(x).chunk(3, dim=1)
        local = self.lepe(v)
        real = self.windows(torch.ones_like(x[:, :1]), 1, rh, rw)  # (b, 1, regions, rh rw, 1)
        q, k, v = (self.windows(t, self.num_heads, rh, rw) for t in (q, k, v))  # (b, heads, regions, rh rw, c / heads)
        graph = self.graph(q, k, real)  # (b, regions, topk)
        k, v, real = (self.gather_regions(t, graph) for t in (k, v, real))  # (b, heads, regions, topk rh rw, c / heads)
        attn = (q * c**-0.5) @ k.transpose(-1, -2)
        attn = attn.masked_fill(real.transpose(-1, -2) == 0, float("-inf")).softmax(dim=-1)
        y = (attn @ v).reshape(b, self.num_heads, self.n_win, self.n_win, rh, rw, -1)
        y = y.permute(0, 1, 6, 2, 4, 3, 5).reshape(b, c, self.n_win * rh, self.n_win * rw)[:, :, :h, :w]
        y = self.output_linear(y + local)
        return x + y

    def windows(self, t: Tensor, heads: int, rh: int, rw: int) -> Tensor:
        b, c, h, w = t.shape
        t = F.pad(t, (0, rw * self.n_win - w, 0, rh * self.n_win - h))
        t = t.reshape(b, heads, c // heads, self.n_win, rh, self.n_win, rw).permute(0, 1, 3, 5, 4, 6, 2)
        return t.reshape(b, heads, self.n_win**2, rh * rw, c // heads)

    def graph(self, q: Tensor, k: Tensor, real: Tensor) -> Tensor:
        b, heads, regions, _, d = q.shape
        share = real.float().mean(dim=3)  # (b, 1, regions, 1)
        dtype = torch.promote_types(q.dtype, torch.float32)
        q_r = q.detach().to(dtype).mean(dim=3).transpose(1, 2).reshape(b, regions, heads * d)
        k_r = (k.detach().to(dtype).mean(dim=3) / share.clamp(min=1e-6)).transpose(1, 2).reshape(b, regions, heads * d)
        a_r = (q_r @ k_r.transpose(-1, -2)).masked_fill(share.view(b, 1, regions) == 0, float("-inf"))
        return torch.topk(a_r, k=self.topk, dim=-1).indices

    def gather_regions(self, t: Tensor, graph: Tensor) -> Tensor:
        b, heads, regions, size, d = t.shape
        index = graph.view(b, 1, regions, self.topk, 1, 1).expand(-1, heads, -1, -1, size, d)
        source = t.unsqueeze(2).expand(-1, -1, regions, -1, -1, -1)
        return torch.gather(source, 3, index).reshape(b, heads, regions, self.topk * size, d)


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {blocks.BRA: TutorialBRA}
