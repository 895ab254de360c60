r"""Networks of transformers, made from settings alone."""

import pytest
import torch
from networks import CHANGE, IDENTITY
from torch import Tensor, nn

from latentgraph.plug import insert

transformers = pytest.importorskip("transformers")


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = {"hidden_size": 22, "num_attention_heads": 2, "intermediate_size": 13}
    config = transformers.BertConfig(vocab_size=17, num_hidden_layers=2, **sizes)
    return transformers.BertModel(config).eval(), {"input_ids": torch.arange(14).view(2, 7)}


def vit() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = {"hidden_size": 22, "num_attention_heads": 2, "intermediate_size": 13}
    config = transformers.ViTConfig(image_size=16, patch_size=4, num_hidden_layers=2, **sizes)
    return transformers.ViTModel(config).eval(), {"pixel_values": torch.randn(2, 3, 16, 16)}


def resnet_of_transformers() -> tuple[nn.Module, dict[str, Tensor]]:
    config = transformers.ResNetConfig(embedding_size=5, hidden_sizes=[7, 11], depths=[1, 1])
    return transformers.ResNetModel(config).eval(), {"pixel_values": torch.randn(2, 3, 37, 37)}


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (bert, "encoder.layer.*.output"),
        (bert, "embeddings"),
        (vit, "layers.*.mlp"),
        (resnet_of_transformers, "encoder.stages.*"),
    ],
)
def test_networks_of_transformers(make, at) -> None:
    model, inputs = make()
    out = model(**inputs).last_hidden_state
    handle = insert(model, at, IDENTITY)
    assert handle.identity
    assert torch.equal(model(**inputs).last_hidden_state, out)
    with torch.no_grad():
        for block in handle.blocks.values():
            block.gamma.fill_(1)
    assert not torch.equal(model(**inputs).last_hidden_state, out)
    handle.remove()
    assert torch.equal(model(**inputs).last_hidden_state, out)


def test_a_module_of_transformers_that_returns_more_than_a_tensor() -> None:
    model, inputs = bert()
    keys = list(model.state_dict())
    with pytest.raises(TypeError, match="expected a Tensor from 'encoder', got"):
        insert(model, "encoder", CHANGE, example=inputs)
    assert list(model.state_dict()) == keys
