"""TITLE"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLOCK_KEYS = tuple(
    f"{layer}.{kind}"
    for layer in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for kind in ("weight", "bias")
)


def causal_mask(n_query: int, n_key: int) -> Bool[Tensor, "n_query n_key"]:
    """Let each of the last n_query positions see itself and what came before; True means allowed."""
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)


def masked_softmax(
    scores: Float[Tensor, "*batch query key"], mask: Bool[Tensor, "*#batch #query #key"]
) -> Float[Tensor, "*batch query key"]:
    """Softmax over the allowed keys; hidden keys get exactly 0, and so does a row with no allowed key."""
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)


def scaled_dot_product_attention(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_value"],
    mask: Bool[Tensor, "*#leading #query #key"] | None,
) -> Float[Tensor, "batch head query d_value"]:
    """Average the values with the weights softmax(q k^T / sqrt(d_head)); a mask of None allows everything."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = scores.softmax(dim=-1) if mask is None else masked_softmax(scores, mask)
    return weights @ v


def split_heads(x: Float[Tensor, "batch position d_model"], n_head: int) -> Float[Tensor, "batch head position d_head"]:
    """Deal the channels of each position out to the heads, d_head neighboring channels to each."""
    batch, n_position, d_model = x.shape
    return x.reshape(batch, n_position, n_head, d_model // n_head).transpose(1, 2)


def merge_heads(x: Float[Tensor, "batch head position d_head"]) -> Float[Tensor, "batch position d_model"]:
    """Lay the heads of each position side by side: the inverse of split_heads."""
    return x.transpose(1, 2).flatten(2)


def causal_self_attention(
    x: Float[Tensor, "batch position d_model"],
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
) -> Float[Tensor, "batch position d_model"]:
    """Let every position read from itself and the past; the rows of w_qkv are those of q, then k, then v."""
    q, k, v = (split_heads(part, n_head) for part in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    heads = scaled_dot_product_attention(q, k, v, causal_mask(x.shape[1], x.shape[1]))
    return F.linear(merge_heads(heads), w_out, b_out)


def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "*batch d_model"]:
    """Normalize the channels of each position (biased variance, eps inside the root), then scale and shift."""
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / (variance + eps).sqrt() * weight + bias


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GPT-2's activation: the tanh form of x times the normal distribution function of x."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(
    x: Float[Tensor, "*batch d_model"],
    w_fc: Float[Tensor, "d_ff d_model"],
    b_fc: Float[Tensor, " d_ff"],
    w_proj: Float[Tensor, "d_model d_ff"],
    b_proj: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Widen each position to d_ff channels, apply GELU, and narrow it again."""
    return F.linear(gelu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


def transformer_block(
    x: Float[Tensor, "batch position d_model"], params: Mapping[str, Float[Tensor, "..."]], n_head: int
) -> Float[Tensor, "batch position d_model"]:
    """Add attention to x, then the MLP, each of which reads a layer norm of x; `params` has the keys BLOCK_KEYS."""
    ln_1, attention, ln_2, feed_forward = (
        [params[key] for key in keys] for keys in (BLOCK_KEYS[:2], BLOCK_KEYS[2:6], BLOCK_KEYS[6:8], BLOCK_KEYS[8:])
    )
    x = x + causal_self_attention(layer_norm(x, *ln_1), *attention, n_head)
    return x + mlp(layer_norm(x, *ln_2), *feed_forward)


def embed_tokens(
    tokens: Int[Tensor, "batch position"],
    wte: Float[Tensor, "vocab d_model"],
    wpe: Float[Tensor, "n_ctx d_model"],
    first_position: int = 0,
) -> Float[Tensor, "batch position d_model"]:
    """Each token's row of wte plus its position's row of wpe; ValueError for a position that wpe has no row for."""
    end = first_position + tokens.shape[1]
    if end > len(wpe):
        raise ValueError(f"got {end} positions, the context is {len(wpe)}")
    return wte[tokens] + wpe[first_position:end]


def gpt_forward(
    tokens: Int[Tensor, "batch position"], params: Mapping[str, Float[Tensor, "..."]], n_head: int
) -> Float[Tensor, "batch position vocab"]:
    """The logits of the token after each position; `params` has GPT-2's names, and the head is tied to wte."""
    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"])
    for layer in range(sum(name.endswith(".ln_1.weight") for name in params)):
        x = transformer_block(x, {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}, n_head)
    x = layer_norm(x, params["ln_f.weight"], params["ln_f.bias"])
    return F.linear(x, params["wte.weight"])


def generate(
    forward: Callable[[Int[Tensor, "batch n"]], Float[Tensor, "batch n vocab"]],
    prompt: Int[Tensor, "batch prompt"],
    n_new: int,
) -> Int[Tensor, "batch prompt+n_new"]:
    """Continue each row greedily by n_new tokens. `forward` remembers what it was fed, so it gets each token once."""
    tokens = unseen = prompt
    for _ in range(n_new):
        unseen = forward(unseen)[:, -1].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, unseen], dim=1)
    return tokens


def random_parameters(n_layer: int, d_model: int, n_ctx: int, vocab_size: int) -> dict[str, Tensor]:
    """Parameters of a small GPT under GPT-2's names, drawn with a standard deviation of 0.5."""
    shapes = {"wte.weight": (vocab_size, d_model), "wpe.weight": (n_ctx, d_model), "ln_f.weight": (d_model,)}
    shapes["ln_f.bias"] = (d_model,)
    rows = {"ln_1": (d_model,), "ln_2": (d_model,), "attn.c_attn": (3 * d_model, d_model)}
    rows |= {
        "attn.c_proj": (d_model, d_model),
        "mlp.c_fc": (4 * d_model, d_model),
        "mlp.c_proj": (d_model, 4 * d_model),
    }
    for layer in range(n_layer):
        for name, shape in rows.items():
            shapes |= {f"h.{layer}.{name}.weight": shape, f"h.{layer}.{name}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(0)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


class Uncached:
    """Remembers the tokens that it was fed, and computes all of them again at every call."""

    def __init__(self, params: Mapping[str, Tensor], n_head: int) -> None:
        self.params, self.n_head = params, n_head
        self.fed = torch.zeros(0, 0, dtype=torch.long)

    def __call__(self, tokens: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n vocab"]:
        self.fed = torch.cat([self.fed.reshape(tokens.shape[0], -1), tokens], dim=1)
        return gpt_forward(self.fed, self.params, self.n_head)[:, -tokens.shape[1] :]


# Part two, once everything above is whole.


class KVCache:
    """The keys and values of one layer, for up to n_ctx positions; ValueError beyond, and then nothing has changed."""

    def __init__(self, batch: int, n_head: int, n_ctx: int, d_head: int, dtype: torch.dtype = torch.float32) -> None:
        raise NotImplementedError

    def append(self, k: Float[Tensor, "batch n_head new d_head"], v: Float[Tensor, "batch n_head new d_head"]) -> None:
        """Add the keys and values of the next positions."""
        raise NotImplementedError

    def view(self) -> tuple[Tensor, Tensor]:
        """The keys and values of the positions held, oldest first."""
        raise NotImplementedError

    def crop(self, length: int) -> None:
        """Keep the first `length` positions."""
        raise NotImplementedError

    def reset(self) -> None:
        """Hold nothing."""
        raise NotImplementedError

    def __len__(self) -> int:
        """How many positions are held."""
        raise NotImplementedError


def forward_with_cache(
    tokens: Int[Tensor, "batch new"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
    caches: Sequence["KVCache"],
) -> Float[Tensor, "batch new vocab"]:
    """The logits after the new tokens, which continue what the caches (one a layer) hold; their keys and values are
    appended. ValueError past the context (the rows of wpe), and then no cache has changed.
    """
    raise NotImplementedError


def test_forward_with_cache(impl):
    """Passes on every right forward_with_cache, and fails on wrong ones."""
    raise NotImplementedError


if __name__ == "__main__":
    params = random_parameters(n_layer=2, d_model=12, n_ctx=32, vocab_size=20)
    prompt = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    print(generate(Uncached(params, n_head=3), prompt, n_new=10))
