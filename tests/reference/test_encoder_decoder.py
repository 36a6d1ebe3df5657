import math

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForMaskedLM

from reference.attention import causal_self_attention
from reference.config import GPTConfig
from reference.encoder_decoder import (
    bidirectional,
    bidirectional_attention,
    corrupt_for_mlm,
    cross_attention,
    mlm_loss,
    prefix_lm_mask,
)
from reference.mask import causal_mask

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def attention_weights(draw, d_model):
    shapes = [(3 * d_model, d_model), (3 * d_model,), (d_model, d_model), (d_model,)]
    return [draw(10 + i, *shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("padded", [False, True])
def test_bidirectional_attention_equals_torchs_unmasked(draw, padded):
    x, weights = draw(0, 3, 5, 6), attention_weights(draw, 6)
    is_token = torch.arange(5) >= torch.tensor([[0], [1], [3]]) if padded else None
    expected, _ = F.multi_head_attention_forward(
        *(3 * [x.transpose(0, 1)]), 6, 3, *weights[:2], None, None, False, 0.0, *weights[2:],
        need_weights=False, key_padding_mask=None if is_token is None else ~is_token,
    )  # fmt: skip
    torch.testing.assert_close(bidirectional_attention(x, *weights, 3, is_token), expected.transpose(0, 1), **EXACT)


def test_in_an_encoder_every_token_changes_every_output_and_in_a_decoder_only_later_ones(draw):
    x, weights = draw(0, 1, 4, 6).requires_grad_(), attention_weights(draw, 6)
    for attention, sees in (
        (bidirectional_attention, torch.ones(4, 4).bool()),
        (causal_self_attention, causal_mask(4, 4)),
    ):
        for query in range(4):
            (gradient,) = torch.autograd.grad(attention(x, *weights, 2)[0, query].sum(), x)
            assert (gradient[0] != 0).any(dim=-1).equal(sees[query])


def test_a_gpt_becomes_an_encoder_by_its_way_to_attend(random_gpt, draw_tokens):
    model, tokens = random_gpt(GPTConfig(2, 2, 8, 6, 9), 0), draw_tokens(0, 9, 2, 5)
    changed = tokens.clone()
    changed[:, -1] = (tokens[:, -1] + 1) % 9
    moved = (model(tokens, attend=bidirectional) - model(changed, attend=bidirectional)).abs().amax(dim=(0, 2))
    assert (moved > 1e-6).all()


def test_prefix_mask_is_full_on_the_prefix_and_causal_after_it():
    for n in range(1, 6):
        for n_prefix in range(n + 1):
            expected = [[key < n_prefix or key <= query for key in range(n)] for query in range(n)]
            assert prefix_lm_mask(n_prefix, n).tolist() == expected
    for n_prefix in (-1, 4):
        with pytest.raises(ValueError, match="n_prefix from 0 to n_position 3"):
            prefix_lm_mask(n_prefix, 3)


def test_cross_attention_equals_torchs_with_padding_and_two_lengths(draw):
    x, memory = draw(0, 3, 4, 6), draw(1, 3, 5, 6)
    params = {
        "q_attn.weight": draw(2, 6, 6), "q_attn.bias": draw(3, 6), "c_attn.weight": draw(4, 12, 6),
        "c_attn.bias": draw(5, 12), "c_proj.weight": draw(6, 6, 6), "c_proj.bias": draw(7, 6),
    }  # fmt: skip
    for is_token in (None, torch.arange(5) < torch.tensor([[5], [2], [1]])):
        expected, _ = F.multi_head_attention_forward(
            x.transpose(0, 1), memory.transpose(0, 1), memory.transpose(0, 1), 6, 3,
            torch.cat([params["q_attn.weight"], params["c_attn.weight"]]),
            torch.cat([params["q_attn.bias"], params["c_attn.bias"]]),
            None, None, False, 0.0, params["c_proj.weight"], params["c_proj.bias"],
            need_weights=False, key_padding_mask=None if is_token is None else ~is_token,
        )  # fmt: skip
        torch.testing.assert_close(cross_attention(x, memory, params, 3, is_token), expected.transpose(0, 1), **EXACT)


def test_corruption_is_15_percent_and_of_these_80_10_10():
    tokens = torch.full((400, 500), 7)
    maskable = torch.ones_like(tokens, dtype=torch.bool)
    maskable[:, 0] = False
    corrupted, chosen = corrupt_for_mlm(tokens, maskable, 3, 20, torch.Generator().manual_seed(0))
    assert not chosen[:, 0].any()
    assert (corrupted == tokens)[~chosen].all()
    n = chosen.sum().item()
    assert n == pytest.approx(0.15 * 400 * 499, abs=4 * math.sqrt(0.15 * 0.85 * 400 * 499))
    counts = torch.bincount(corrupted[chosen], minlength=20)
    expected = torch.full((20,), 0.1 / 20)  # the drawn ones are spread over the whole vocabulary
    expected[3] += 0.8
    expected[7] += 0.1
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum().item()
    assert chi_square < 50  # 19 degrees of freedom: exceeded once in 7,000 times


def test_corruption_repeats_with_its_seed_and_refuses_rates_that_are_none():
    tokens, maskable = torch.arange(40).view(2, 20), torch.ones(2, 20, dtype=torch.bool)
    first, again = (corrupt_for_mlm(tokens, maskable, 0, 40, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first[0].equal(again[0])
    assert tokens.equal(torch.arange(40).view(2, 20))
    assert not corrupt_for_mlm(tokens, maskable, 0, 40, torch.Generator(), rate=0)[1].any()
    assert corrupt_for_mlm(tokens, maskable, 0, 40, torch.Generator(), rate=1)[1].all()
    with pytest.raises(ValueError, match="rate from 0 to 1"):
        corrupt_for_mlm(tokens, maskable, 0, 40, torch.Generator(), rate=15)


def test_mlm_loss_equals_transformers_and_counts_chosen_positions_only(draw, draw_tokens):
    logits, tokens = draw(0, 3, 5, 11), draw_tokens(1, 11, 3, 5)
    chosen = draw(2, 3, 5) > 0
    bert = BertForMaskedLM(BertConfig(vocab_size=11, hidden_size=4, num_hidden_layers=1, num_attention_heads=1))
    bert.cls.forward = lambda _: logits
    expected = bert(tokens, labels=tokens.masked_fill(~chosen, -100)).loss
    torch.testing.assert_close(mlm_loss(logits, tokens, chosen), expected, **EXACT)
    with pytest.raises(ValueError, match="no chosen position"):
        mlm_loss(logits, tokens, torch.zeros_like(chosen))
