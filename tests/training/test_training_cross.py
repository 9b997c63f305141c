"""The reranker that is trained all against all is the one that transformers runs pair by pair."""

from __future__ import annotations

import random

import pytest
import torch
import transformers

from training.cross import CrossEncoder, cross_shape, hold

VOCABULARY = 400


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    torch.manual_seed(0)
    model = CrossEncoder(cross_shape(VOCABULARY)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from the start, as after training
            parameter.mul_(1.5).add_(0.02 * torch.randn_like(parameter))
    hold(model)
    return model


@pytest.fixture(scope="module")
def reference(model: CrossEncoder) -> transformers.XLMRobertaForSequenceClassification:
    shape = model.shape
    config = transformers.XLMRobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        pad_token_id=1,
        num_labels=1,
        layer_norm_eps=1e-5,
    )
    same = transformers.XLMRobertaForSequenceClassification(config).eval()
    same.load_state_dict(model.state_dict())
    return same


@pytest.mark.parametrize("length", [1, 5, 23])
def test_scores_of_all_pairs_at_once_are_those_of_each_pair_alone(
    model: CrossEncoder, reference: transformers.XLMRobertaForSequenceClassification, length: int
) -> None:
    choose = random.Random(length)  # noqa: S311
    queries = [[choose.randrange(5, VOCABULARY) for _ in range(length)] for _ in range(4)]
    passages = [[choose.randrange(5, VOCABULARY) for _ in range(choose.randint(1, 150))] for _ in range(20)]
    with torch.inference_mode():
        together = model(queries, passages, shift=length + 2)
        for query, row in zip(queries, together, strict=True):
            for passage, score in zip(passages, row, strict=True):
                ids = torch.tensor([[0, *query, 2, 2, *passage, 2]])
                types = torch.tensor([[0] * (length + 2) + [1] * (len(passage) + 2)])
                alone = reference(input_ids=ids, token_type_ids=types).logits.item()
                assert score.item() == pytest.approx(alone, abs=1e-4)


def test_what_holds_the_views_is_put_back_after_a_step(model: CrossEncoder) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    hold(model)
    after = model.state_dict()
    held = sum(int(torch.isclose(after[name], before[name]).sum()) for name in before)
    moved = sum(value.numel() for value in before.values()) - held
    assert held > 0
    assert moved > held
    model.load_state_dict(before)
