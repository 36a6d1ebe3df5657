import pytest
import torch

from reference.in_context_learning import few_shot_prompt, in_context_gain, induction_score


def test_prompts_end_where_the_answer_begins():
    assert few_shot_prompt("Add.", [("1+1", "2"), ("2+2", "4")], "3+3") == (
        "Add.\n\nInput: 1+1\nOutput: 2\n\nInput: 2+2\nOutput: 4\n\nInput: 3+3\nOutput:"
    )
    assert few_shot_prompt("", [], "x") == "Input: x\nOutput:"


def test_planted_patterns_have_their_scores():
    tokens = torch.tensor([1, 2, 3, 1, 2, 2])
    looks_after = torch.zeros(6, 6)
    looks_after[3, 1] = looks_after[4, 2] = 1  # after the first 1 came 2, after the first 2 came 3
    looks_after[5, 2] = looks_after[5, 5] = 0.5  # after the other 2 came this one itself
    looks_at_itself, uniform = torch.eye(6), torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    looks_at_same = torch.zeros(6, 6)
    looks_at_same[3, 0] = looks_at_same[4, 1] = looks_at_same[5, 4] = 1
    weights = torch.stack([looks_after, looks_at_itself, uniform, looks_at_same])
    assert induction_score(weights, tokens).tolist() == pytest.approx([1, 1 / 3, (1 / 4 + 1 / 5 + 2 / 6) / 3, 0])
    with pytest.raises(ValueError, match="a token that occurs twice"):
        induction_score(weights, torch.arange(6))


def test_the_gain_is_how_far_the_loss_falls_along_the_text():
    losses = torch.arange(600, 0, -1.0).repeat(2, 1)
    losses[1] *= 3
    assert in_context_gain(losses) == 450 * 2
    assert in_context_gain(losses, 1, 600) == 599 * 2
    for early, late in ((0, 5), (5, 5), (5, 601)):
        with pytest.raises(ValueError, match="1 <= early < late <= 600"):
            in_context_gain(losses, early, late)
