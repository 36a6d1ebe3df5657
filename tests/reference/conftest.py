"""Models to compare: a small GPT with every parameter drawn at O(1), and transformers' GPT-2 with the same numbers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from reference.config import GPTConfig
from reference.model import GPT

Draw = Callable[..., Tensor]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """draw(seed, *shape): float64 numbers of order one."""
    return lambda seed, *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="session")
def draw_tokens() -> Draw:
    """draw_tokens(seed, vocab_size, *shape)."""
    return lambda seed, vocab_size, *shape: torch.randint(
        vocab_size, shape, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="session")
def random_gpt() -> Callable[[GPTConfig, int], GPT]:
    """random_gpt(config, seed): in float64, with weights that keep activations of order one, biases and gains too."""

    def build(config: GPTConfig, seed: int) -> GPT:
        model = GPT(config).double()
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            std = 1.0 if parameter.ndim == 1 else 1.5 * parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std, generator=generator)
        return model

    return build


@pytest.fixture(scope="session")
def hugging_face() -> Callable[[GPT], GPT2LMHeadModel]:
    """hugging_face(model): transformers' GPT-2 with the weights of our model."""

    def build(model: GPT) -> GPT2LMHeadModel:
        config = model.config
        twin = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=config.vocab_size,
                n_positions=config.n_ctx,
                n_embd=config.d_model,
                n_layer=config.n_layer,
                n_head=config.n_head,
                bos_token_id=0,
                eos_token_id=0,
                attn_implementation="eager",
            )
        )
        twin = twin.double().eval()
        names = set(dict(twin.transformer.named_parameters()))
        assert names == set(model.state_dict())
        with torch.no_grad():
            for name, parameter in twin.transformer.named_parameters():
                parameter.copy_(to_conv1d(name, model.params[name]))
        return twin

    def to_conv1d(name: str, weight: Tensor) -> Tensor:
        """transformers keeps the projections of a block as (in, out)."""
        return weight.T if name.startswith("h.") and weight.ndim == 2 else weight

    return build
