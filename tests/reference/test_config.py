import dataclasses

import pytest

from reference.config import (
    GPT2,
    GPT2_PAPER_MILLIONS,
    GPT3,
    GPT3_PRINTED,
    GPTConfig,
    count_parameters,
    parameters_per_block,
)

EXACT_COUNTS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3-small": 125_226_240,
    "gpt3-medium": 355_871_744,
    "gpt3-large": 760_300_032,
    "gpt3-xl": 1_315_723_264,
    "gpt3-2.7b": 2_651_553_280,
    "gpt3-6.7b": 6_658_404_352,
    "gpt3-13b": 12_853_386_240,
    "gpt3-175b": 174_604_259_328,
}


def test_the_presets_are_the_four_gpt2_and_the_eight_gpt3_sizes():
    assert [*GPT2, *GPT3] == list(EXACT_COUNTS)
    assert list(GPT2) == list(GPT2_PAPER_MILLIONS)
    assert list(GPT3) == list(GPT3_PRINTED)
    assert {config.n_ctx for config in GPT2.values()} == {1024}
    assert {config.n_ctx for config in GPT3.values()} == {2048}


@pytest.mark.parametrize("name", EXACT_COUNTS)
def test_counts_are_exact(name):
    assert count_parameters({**GPT2, **GPT3}[name]) == EXACT_COUNTS[name]


@pytest.mark.parametrize("name", GPT3)
def test_a_preset_is_the_printed_row_unless_that_contradicts_itself(name):
    config, printed = GPT3[name], GPT3_PRINTED[name]
    built = (config.n_layer, config.d_model, config.n_head, config.d_head)
    as_printed = (printed.n_layer, printed.d_model, printed.n_head, printed.d_head)
    repaired = {"gpt3-xl": (24, 2048, 16, 128), "gpt3-13b": (40, 5120, 40, 128)}
    assert (printed.n_head * printed.d_head == printed.d_model) == (name not in repaired)
    assert built == repaired.get(name, as_printed)


@pytest.mark.parametrize("name", GPT3)
def test_counts_round_to_those_of_the_papers_table_d1(name):
    unit = 10 if count_parameters(GPT3[name]) > 1e9 else 1
    assert round(count_parameters(GPT3[name]) / 1e6 / unit) * unit == GPT3_PRINTED[name].millions


def test_the_two_printed_rows_taken_at_their_word_do_not_give_the_papers_counts():
    printed = GPT3_PRINTED["gpt3-13b"]
    assert printed.d_model % printed.n_head != 0
    count = (50257 + 2048) * printed.d_model + printed.n_layer * parameters_per_block(printed.d_model)
    assert count + 2 * printed.d_model == 12_952_938_780
    printed = GPT3_PRINTED["gpt3-xl"]
    wider = printed.n_head * printed.d_head - printed.d_model  # four projections and the biases of q, k and v
    extra = printed.n_layer * (4 * printed.d_model * wider + 3 * wider)
    assert count_parameters(GPT3["gpt3-xl"]) + extra == 1_517_123_584


def test_non_embedding_counts_are_those_of_the_blocks_and_the_final_norm():
    counts = [config.n_layer * parameters_per_block(config.d_model) + 2 * config.d_model for config in GPT2.values()]
    assert counts == [85_056_000, 302_311_424, 708_390_400, 1_475_561_600]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(GPTConfig)])
@pytest.mark.parametrize("value", [0, -1, 1.5, "12", None])
def test_a_size_that_is_not_a_positive_integer_is_an_error_that_names_it(field, value):
    with pytest.raises(ValueError, match=f"expected {field} to be an integer of at least 1, got"):
        dataclasses.replace(GPT2["gpt2"], **{field: value})


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="n_head 40 and d_model 5140"):
        GPTConfig(n_layer=40, n_head=40, d_model=5140, n_ctx=2048)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPT2["gpt2"].n_layer = 3  # type: ignore[misc]
