import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from reference.block import BLOCK_KEYS, gelu, layer_norm, mlp, transformer_block

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 6), st.sampled_from([1e-4, 1e-2, 1.0, 1e3]))
def test_layer_norm_equals_torch_for_tiny_and_large_variances(draw, seed, batch, d_model, scale):
    x, weight, bias = draw(seed, batch, 2, d_model) * scale + 1, draw(seed + 1, d_model), draw(seed + 2, d_model)
    torch.testing.assert_close(layer_norm(x, weight, bias), F.layer_norm(x, (d_model,), weight, bias, 1e-5), **EXACT)
    torch.testing.assert_close(
        layer_norm(x, weight, bias, eps=1e-3), F.layer_norm(x, (d_model,), weight, bias, 1e-3), **EXACT
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_norm_of_the_large_channels_of_a_real_gpt2_is_right_in_half_precision(draw, dtype):
    x, weight, bias = draw(0, 2, 3, 12), draw(1, 12), draw(2, 12)
    x[..., 4] = 3000
    got = layer_norm(x.to(dtype), weight.to(dtype), bias.to(dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), F.layer_norm(x, (12,), weight, bias), rtol=0.02, atol=0.02)


def test_gelu_is_the_tanh_approximation():
    x = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), F.gelu(x, approximate="tanh"), rtol=0, atol=1e-12)
    assert (gelu(x) - F.gelu(x)).abs().max().item() == pytest.approx(4.73e-4, rel=1e-3)


def test_mlp_equals_torch_modules(draw):
    w_fc, b_fc, w_proj, b_proj = draw(0, 12, 3), draw(1, 12), draw(2, 3, 12), draw(3, 3)
    x = draw(4, 2, 5, 3)
    expected = F.gelu(x @ w_fc.T + b_fc, approximate="tanh") @ w_proj.T + b_proj
    torch.testing.assert_close(mlp(x, w_fc, b_fc, w_proj, b_proj), expected, **EXACT)


def test_block_is_torchs_pre_norm_encoder_layer(draw):
    d_model, n_head = 6, 3
    twin = torch.nn.TransformerEncoderLayer(
        d_model, n_head, 4 * d_model, dropout=0.0, batch_first=True, norm_first=True, dtype=torch.float64,
        activation=lambda x: F.gelu(x, approximate="tanh"),
    )  # fmt: skip
    for seed, parameter in enumerate(twin.parameters()):
        parameter.data = draw(seed, *parameter.shape)
    theirs = [
        *(twin.norm1.weight, twin.norm1.bias, twin.self_attn.in_proj_weight, twin.self_attn.in_proj_bias),
        *(twin.self_attn.out_proj.weight, twin.self_attn.out_proj.bias, twin.norm2.weight, twin.norm2.bias),
        *(twin.linear1.weight, twin.linear1.bias, twin.linear2.weight, twin.linear2.bias),
    ]
    x = draw(99, 2, 5, d_model)
    expected = twin(x, src_mask=torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64))
    got = transformer_block(x, dict(zip(BLOCK_KEYS, theirs, strict=True)), n_head)
    torch.testing.assert_close(got, expected, **EXACT)
