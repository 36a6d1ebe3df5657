import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from transformers import LlamaConfig as HFLlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from reference.encoder_decoder import bidirectional
from reference.flash_attention import causal_by_tiles
from reference.modern_decoder import (
    Llama,
    LlamaConfig,
    alibi_slopes,
    apply_rope,
    llama_block,
    rms_norm,
    rope_frequencies,
    swiglu,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}
seeds = st.integers(0, 10**6)
CONFIG = LlamaConfig(n_layer=2, n_head=6, n_kv_head=2, d_model=24, d_ff=20, n_ctx=12, vocab_size=11)


class Rope64(torch.nn.Module):
    """transformers' own rotary embedding computes in float32 whatever the model: the same angles in float64."""

    def __init__(self, d_head, theta):
        super().__init__()
        self.frequencies = 1.0 / theta ** (torch.arange(0, d_head, 2).double() / d_head)

    def forward(self, x, position_ids):
        angles = position_ids[..., None] * self.frequencies
        both = torch.cat([angles, angles], dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def twin_of(model, exact=True):
    """transformers' Llama, or Mistral if there is a window, with the same weights."""
    config = model.config
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.n_ctx,
        "rms_norm_eps": config.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.theta},
        "tie_word_embeddings": False,
        "attn_implementation": "sdpa",  # the eager one takes its softmax in float32
    }
    if config.window is None:
        twin = LlamaForCausalLM(HFLlamaConfig(**shape))
    else:
        twin = MistralForCausalLM(MistralConfig(**shape, sliding_window=config.window))
    twin = twin.to(model.norm.weight.dtype).eval()
    weights = {name if name.startswith("lm_head") else f"model.{name}": p for name, p in model.state_dict().items()}
    twin.load_state_dict(weights)
    if exact:
        twin.model.rotary_emb = Rope64(config.d_model // config.n_head, config.theta)
        for module in twin.modules():
            if type(module).__name__.endswith("RMSNorm"):  # transformers' computes in float32 too
                module.forward = lambda x, norm=module: F.rms_norm(x, x.shape[-1:], norm.weight, config.eps)
    return twin


def random_llama(draw, config, seed):
    model = Llama(config).double()
    for i, parameter in enumerate(model.parameters()):
        scale = 1.0 if parameter.ndim == 1 else 1.5 * parameter.shape[1] ** -0.5
        parameter.data = scale * draw(seed + i, *parameter.shape)
    return model


@settings(max_examples=8, deadline=None)
@given(seeds, st.sampled_from([(6, 2), (6, 6), (6, 1), (3, 3)]), st.sampled_from([None, 1, 3, 12]), st.integers(1, 3))
def test_logits_and_gradients_equal_those_of_transformers(draw, draw_tokens, seed, heads, window, batch):
    n_head, n_kv_head = heads
    config = LlamaConfig(
        **{**CONFIG.__dict__, "n_head": n_head, "n_kv_head": n_kv_head, "window": window, "theta": 50.0}
    )
    model = random_llama(draw, config, seed)
    twin, tokens = twin_of(model), draw_tokens(seed, 11, batch, 9)
    got, expected = model(tokens), twin(tokens).logits
    torch.testing.assert_close(got, expected, **EXACT)
    cotangent = draw(seed, *got.shape)
    got.backward(cotangent)
    expected.backward(cotangent)
    theirs = {name.removeprefix("model."): p.grad for name, p in twin.named_parameters()}
    for name, parameter in model.named_parameters():
        scale = max(1.0, theirs[name].abs().max().item())
        torch.testing.assert_close(parameter.grad / scale, theirs[name] / scale, **EXACT)


def test_logits_equal_those_of_transformers_as_it_is_in_float32(draw, draw_tokens):
    model, tokens = random_llama(draw, CONFIG, 0).float(), draw_tokens(0, 11, 2, 12)
    expected = twin_of(model, exact=False)(tokens).logits
    torch.testing.assert_close(model(tokens), expected, rtol=1e-4, atol=1e-4)


def test_it_goes_on_at_any_position(draw, draw_tokens):
    model, tokens = random_llama(draw, CONFIG, 0), draw_tokens(0, 11, 2, 3)
    expected = twin_of(model)(tokens, position_ids=torch.arange(7, 10)[None]).logits
    torch.testing.assert_close(model(tokens, first_position=7), expected, **EXACT)
    with pytest.raises(ValueError, match="got 13 positions, the context is 12"):
        model(tokens, first_position=10)


def test_it_may_attend_both_ways_or_by_tiles(draw, draw_tokens):
    model, tokens = random_llama(draw, LlamaConfig(**{**CONFIG.__dict__, "n_kv_head": 6}), 0), draw_tokens(0, 11, 2, 9)
    changed = tokens.clone()
    changed[:, -1] = (tokens[:, -1] + 1) % 11
    moved = (model(tokens, attend=bidirectional) - model(changed, attend=bidirectional)).abs().amax(dim=(0, 2))
    assert (moved > 1e-6).all()
    torch.testing.assert_close(model(tokens, attend=causal_by_tiles(4)), model(tokens), **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_stays_near(draw, draw_tokens, dtype):
    model, tokens = random_llama(draw, CONFIG, 3), draw_tokens(1, 11, 2, 8)
    expected = model(tokens).detach()
    logits = model.to(dtype)(tokens)
    assert logits.dtype == dtype
    assert (logits - expected).abs().max() < 0.15 * expected.abs().max()  # and finite
    logits.float().log_softmax(-1).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_frequencies_fall_from_1_and_pairs_are_half_a_head_apart():
    frequencies = rope_frequencies(8, theta=10_000.0)
    torch.testing.assert_close(frequencies, torch.tensor([1, 0.1, 0.01, 0.001], dtype=torch.float64), **EXACT)
    x = torch.zeros(1, 1, 1, 8, dtype=torch.float64)
    x[..., 1] = 1
    rotated = apply_rope(x, torch.tensor([5]), frequencies)[0, 0, 0]
    assert rotated.nonzero().flatten().tolist() == [1, 5]
    assert rotated[[1, 5]].tolist() == pytest.approx([math.cos(0.5), math.sin(0.5)])
    with pytest.raises(ValueError, match="even d_head"):
        rope_frequencies(7)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 100_000), st.integers(-50, 50))
def test_scores_depend_on_offsets_alone_however_far_out(draw, seed, offset, distance):
    q, k, frequencies = draw(seed, 1, 1, 1, 8), draw(seed + 1, 1, 1, 1, 8), rope_frequencies(8)

    def score(at):
        near, far = torch.tensor([at + 60]), torch.tensor([at + 60 + distance])
        return (apply_rope(q, near, frequencies) * apply_rope(k, far, frequencies)).sum()

    torch.testing.assert_close(score(offset), score(0), rtol=1e-7, atol=1e-7)


def test_angles_are_exact_in_bfloat16_and_rows_may_stand_at_different_positions(draw):
    x, frequencies = draw(0, 2, 3, 2, 4), rope_frequencies(4)
    positions = torch.tensor([[256, 257], [3, 700]])
    got = apply_rope(x, positions, frequencies)
    for row in range(2):
        torch.testing.assert_close(
            got[row : row + 1], apply_rope(x[row : row + 1], positions[row], frequencies), **EXACT
        )
    half = apply_rope(x.bfloat16(), positions, frequencies.float())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), got, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("n_head", [1, 2, 3, 6, 8, 12, 20, 64])
def test_alibi_slopes_equal_those_of_bloom(n_head):
    bias = build_alibi_tensor(torch.ones(1, 2), n_head, torch.float64)  # slope times position
    torch.testing.assert_close(alibi_slopes(n_head), bias[:, 0, 1], rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="at least 1"):
        alibi_slopes(0)


def test_alibi_slopes_of_8_and_12_heads_are_those_of_the_paper():
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert [round(slope, 5) for slope in alibi_slopes(12)[8:].tolist()] == [0.70711, 0.35355, 0.17678, 0.08839]


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([1e-4, 1e-2, 1.0, 1e3]))
def test_rms_norm_and_swiglu_equal_torchs(draw, seed, scale):
    x, weight = scale * draw(seed, 2, 3, 6), draw(seed + 1, 6)
    torch.testing.assert_close(rms_norm(x, weight), F.rms_norm(x, (6,), weight, 1e-6), **EXACT)
    w_gate, w_up, w_down = draw(seed + 2, 10, 6), draw(seed + 3, 10, 6), draw(seed + 4, 6, 10)
    expected = (F.silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T
    torch.testing.assert_close(swiglu(x, w_gate, w_up, w_down), expected, **EXACT)


def test_the_large_channels_of_a_real_llama_are_normed_in_float32(draw):
    x = draw(0, 2, 6)
    x[:, 2] = 3000
    got = rms_norm(x.half(), torch.ones(6).half())
    torch.testing.assert_close(got.double(), F.rms_norm(x, (6,)), rtol=0.01, atol=1e-3)


def test_a_block_alone_is_causal_and_uses_the_published_frequencies(draw):
    model = random_llama(draw, LlamaConfig(**{**CONFIG.__dict__, "n_layer": 1}), 0)
    block = {name.removeprefix("layers.0."): p for name, p in model.named_parameters() if name.startswith("layers")}
    x = draw(1, 2, 5, 24)
    twin = twin_of(model).model
    position = torch.arange(4, 9)[None]
    mask = torch.full((5, 5), -torch.inf).triu(1).double()[None, None]
    embeddings = twin.rotary_emb(x, position)
    expected = twin.layers[0](x, attention_mask=mask, position_ids=position, position_embeddings=embeddings)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(llama_block(x, block, 6, 2, first_position=4), expected, **EXACT)
