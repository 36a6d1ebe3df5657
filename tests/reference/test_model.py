import pytest
import torch
from hypothesis import given, settings, strategies as st

from reference.attention import scaled_dot_product_attention
from reference.config import GPT2, GPT3, GPTConfig, count_parameters
from reference.model import GPT, gpt_forward, initial_std

EXACT = {"rtol": 1e-9, "atol": 1e-9}
TINY = GPTConfig(n_layer=2, n_head=3, d_model=12, n_ctx=8, vocab_size=11)

configs = st.builds(
    lambda n_layer, n_head, d_head, n_ctx, vocab_size: GPTConfig(n_layer, n_head, n_head * d_head, n_ctx, vocab_size),
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.integers(2, 9),
)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(configs, st.integers(0, 10**6), st.integers(1, 3), st.data())
def test_logits_and_gradients_equal_those_of_transformers(
    random_gpt, hugging_face, draw, draw_tokens, config, seed, batch, data
):
    n_position = data.draw(st.integers(1, config.n_ctx))
    model = random_gpt(config, seed)
    twin = hugging_face(model)
    tokens = draw_tokens(seed, config.vocab_size, batch, n_position)
    got, expected = model(tokens), twin(tokens).logits
    torch.testing.assert_close(got, expected, **EXACT)

    cotangent = draw(seed, *got.shape)
    got.backward(cotangent)
    expected.backward(cotangent)
    gradients = {name: parameter.grad for name, parameter in twin.transformer.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        transposed = name.startswith("h.") and parameter.ndim == 2
        expected_gradient = gradients[name].T if transposed else gradients[name]
        scale = max(1.0, expected_gradient.abs().max().item())
        torch.testing.assert_close(parameter.grad / scale, expected_gradient / scale, **EXACT)


def test_positions_start_where_they_are_told_to(random_gpt, hugging_face, draw_tokens):
    model = random_gpt(TINY, 0)
    tokens = draw_tokens(1, 11, 2, 3)
    for first in range(6):
        expected = hugging_face(model)(tokens, position_ids=torch.arange(first, first + 3)[None]).logits
        torch.testing.assert_close(model(tokens, first_position=first), expected, **EXACT)


def test_the_way_to_attend_is_an_argument_and_is_told_each_layer(random_gpt, draw_tokens):
    model, tokens, layers = random_gpt(TINY, 0), draw_tokens(1, 11, 2, 5), []

    def see_everything(layer, q, k, v):
        layers.append(layer)
        return scaled_dot_product_attention(q, k, v, None)

    changed = tokens.clone()
    changed[:, -1] = (tokens[:, -1] + 1) % 11
    causal_change = (model(tokens) - model(changed))[:, 0].abs().max()
    full_change = (model(tokens, attend=see_everything) - model(changed, attend=see_everything))[:, 0].abs().max()
    assert causal_change == 0
    assert full_change > 1e-3
    assert layers == [0, 1, 0, 1]


def test_float32_and_float64_give_the_same_numbers(random_gpt, draw_tokens):
    model, tokens = random_gpt(TINY, 3), draw_tokens(1, 11, 2, 8)
    expected = model(tokens)
    got = model.float()(tokens)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_stays_finite_with_gradients(random_gpt, draw_tokens, dtype):
    model, tokens = random_gpt(TINY, 3), draw_tokens(1, 11, 2, 8)
    expected = model(tokens).detach()
    logits = model.to(dtype)(tokens)
    assert logits.dtype == dtype
    assert (logits - expected).abs().max() < 0.15 * expected.abs().max()  # and finite
    logits.float().log_softmax(-1).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_module_and_the_function_are_one(random_gpt, draw_tokens):
    model, tokens = random_gpt(TINY, 3), draw_tokens(1, 11, 2, 8)
    assert model(tokens).equal(gpt_forward(tokens, model.state_dict(), TINY.n_head))


def test_the_head_is_the_token_embedding():
    model = GPT(TINY)
    model.wte.weight.data.zero_()
    assert (model(torch.zeros(1, 3, dtype=torch.long)) == 0).all()
    assert not any("lm_head" in name for name in model.state_dict())


@pytest.mark.parametrize("name", [*GPT2, *GPT3])
def test_every_preset_can_be_built_and_run_without_memory_and_has_its_count(name):
    config = {**GPT2, **GPT3}[name]
    with torch.device("meta"):
        model = GPT(config)
        logits = model(torch.zeros(2, 5, dtype=torch.long))
    assert sum(parameter.numel() for parameter in model.parameters()) == count_parameters(config)
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == count_parameters(config)
    assert logits.shape == (2, 5, 50257)


@settings(max_examples=10, deadline=None)
@given(configs)
def test_the_closed_form_counts_any_configuration(config):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in GPT(config).parameters()) == count_parameters(config)


def test_initial_weights_are_gpt2s():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=8, n_head=4, d_model=64, n_ctx=128, vocab_size=500))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "ln_" in name:
            assert (parameter == 1).all()
        else:
            std = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert initial_std(name, 8) == pytest.approx(std)
            assert parameter.std().item() == pytest.approx(std, rel=0.05)
            assert parameter.mean().item() == pytest.approx(0, abs=std / 20)


def test_an_untrained_model_knows_nothing_but_the_size_of_its_vocabulary():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, d_model=64, n_ctx=32, vocab_size=1000))
    tokens = torch.randint(1000, (4, 32))
    loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(6.908, abs=0.1)  # ln 1000


def test_a_sequence_longer_than_the_context_is_an_error():
    model = GPT(TINY)
    model(torch.zeros(1, 8, dtype=torch.long))
    with pytest.raises(ValueError, match="got 9 positions, the context is 8: "):
        model(torch.zeros(1, 9, dtype=torch.long))
