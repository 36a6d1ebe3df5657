"""GPT: embeddings, blocks, a final norm, and the token embedding once more as the head (chapter 5).
Source: Radford et al. 2019 (GPT-2 report), section 2.3. Parameters carry GPT-2's names; weights are (out, in)."""

import math
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import nn

from reference.attention import Attend, causal
from reference.block import BLOCK_KEYS, layer_norm, transformer_block
from reference.config import GPTConfig
from reference.embedding import embed_tokens
from reference.shapes import Hidden, Logits, Params, Tensor, Tokens


def gpt_forward(
    tokens: Tokens, params: Params, n_head: int, *, first_position: int = 0, attend: Attend = causal
) -> Logits:
    """Logits of the token after each position; the first stands at `first_position`, and `attend` is how layers attend.
    Raises ValueError if tokens are not (batch, position), or reach past the context."""
    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"], first_position)  # (batch, position, d_model)
    return run_blocks(x, params, n_head, attend)


def run_blocks(x: Hidden, params: Params, n_head: int, attend: Attend) -> Logits:
    """From embedded tokens to logits: the blocks, the final norm, the tied head."""
    n_layer = sum(key.startswith("h.") and key.endswith(".ln_1.weight") for key in params)
    for layer in range(n_layer):
        block_params = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        x = transformer_block(x, block_params, n_head, attend, layer)
    x = layer_norm(x, params["ln_f.weight"], params["ln_f.bias"])
    return F.linear(x, params["wte.weight"])  # (batch, position, vocab)


def initial_std(name: str, n_layer: int) -> float:
    """Standard deviation that the weight `name` is drawn with, around 0.
    Each of 2 n_layer projections adds its variance to the residual stream; scaled by 1/sqrt(2 n_layer), all add one's.
    >>> initial_std("wte.weight", n_layer=12), initial_std("h.3.mlp.c_proj.weight", n_layer=8)
    (0.02, 0.005)"""
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02


class GPT(nn.Module):
    """The parameters of a GPT, drawn as GPT-2's are; what it computes is `gpt_forward`.
    >>> model = GPT(GPTConfig(n_layer=2, n_head=2, d_model=8, n_ctx=16, vocab_size=10))
    >>> model(torch.tensor([[3, 1, 4]])).shape
    torch.Size([1, 3, 10])"""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.n_ctx, config.d_model)
        self.h = nn.ModuleList(_block_parameters(config.d_model) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from torch's global generator; biases are 0, gains of the layer norms are 1."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.constant_(parameter, 0.0 if name.endswith(".bias") else 1.0)
            else:
                nn.init.normal_(parameter, std=initial_std(name, self.config.n_layer))

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameters by GPT-2's names, the tensors themselves."""
        return dict(self.named_parameters())

    def forward(self, tokens: Tokens, first_position: int = 0, attend: Attend = causal) -> Logits:
        """See `gpt_forward`."""
        return gpt_forward(tokens, self.params, self.config.n_head, first_position=first_position, attend=attend)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, dtype: torch.dtype | None = None) -> Self:
        """The published weights: "gpt2" or another name of the hub, or a folder; `dtype` of None is the file's.
        Raises what `reference.weights` does, and ValueError naming every parameter that is missing or misshapen."""
        from reference.weights import find_checkpoint, read_checkpoint

        folder = find_checkpoint(name_or_path)
        config, params = read_checkpoint(folder)
        with torch.device("meta"):  # shapes without memory; the parameters are those of the file
            model = cls(config)
        try:
            model.load_state_dict(params, assign=True)
        except RuntimeError as error:
            raise ValueError(f"{folder} does not fit its own config.json. {error}") from error
        return model.to(dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, as `from_pretrained` and transformers read them."""
        from reference.weights import write_checkpoint

        write_checkpoint(Path(folder), self.config, self.params)


def _block_parameters(d_model: int) -> nn.ModuleDict:
    """Holds what `transformer_block` takes, under the names of BLOCK_KEYS."""
    attention = {"c_attn": nn.Linear(d_model, 3 * d_model), "c_proj": nn.Linear(d_model, d_model)}
    mlp = {"c_fc": nn.Linear(d_model, 4 * d_model), "c_proj": nn.Linear(4 * d_model, d_model)}
    ln_1, ln_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
    return nn.ModuleDict({"ln_1": ln_1, "attn": nn.ModuleDict(attention), "ln_2": ln_2, "mlp": nn.ModuleDict(mlp)})
