r"""Networks of torchvision and timm, and what these make of networks."""

from functools import partial

import pytest
import torch
from networks import CHANGE, IDENTITY, outputs
from properties import assert_equal
from torch import Tensor, nn

from latentgraph.nn import GlobalContext
from latentgraph.plug import insert

torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")


def resnet() -> nn.Module:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 2, 1, 1], num_classes=5, width_per_group=4).eval()


def images(size: int = 37) -> Tensor:
    return torch.randn(2, 3, size, size)


def test_every_residual_block_as_in_the_paper_of_gcnet() -> None:
    model, x, asked = resnet(), images(), []
    out, keys = model(x), list(model.state_dict())

    def factory(channels: int) -> nn.Module:
        asked.append(channels)
        return GlobalContext(channels)

    handle = insert(model, "layer[234].*.bn3", factory)
    assert handle.places == ["layer2.0.bn3", "layer2.1.bn3", "layer3.0.bn3", "layer4.0.bn3"]
    assert asked == [512, 512, 1024, 2048]
    assert handle.identity
    assert torch.equal(model(x), out)
    assert [key for key in model.state_dict() if ".context." not in key] == keys


def test_frozen_batch_norms_of_detection_have_channels() -> None:
    model = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None
    )
    handle = insert(model, "body.layer[34].*.bn2", IDENTITY)
    assert [block.channels for block in handle.blocks.values()] == [256, 256, 512, 512]
    assert handle.identity


@pytest.mark.parametrize("at", ["layer2", "layer2.1", "layer2.1.bn3"])
def test_torchvision_extracts_features_behind_blocks(at) -> None:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = resnet(), images()
    before = outputs(model, "layer3", x)
    insert(model, at, CHANGE)
    places = dict.fromkeys([at, "layer3"])
    expected = {name: outputs(model, name, x) for name in places}
    assert not torch.equal(expected["layer3"], before)
    found = create_feature_extractor(model, list(places))(x)
    assert all(torch.equal(found[name], expected[name]) for name in places)
    getter = IntermediateLayerGetter(model, {"layer2": "a", "layer3": "b"})
    found = getter(x)
    assert torch.equal(found["a"], outputs(model, "layer2", x))
    assert torch.equal(found["b"], expected["layer3"])


def test_timm_features_behind_blocks() -> None:
    x = images()
    model = timm.create_model("test_resnet", features_only=True, zero_init_last=False).eval()
    before = model(x)
    insert(model, "layer[34]", CHANGE)
    handle = insert(model, "layer2.*.bn*", CHANGE)
    assert handle.places
    after = model(x)
    assert torch.equal(before[1], after[1])
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)][2:] == [False] * 3
    assert torch.equal(after[-1], outputs(model, "layer4", x))


def test_timm_features_of_a_transformer_behind_a_block() -> None:
    options = {"img_size": 32, "features_only": True}
    model, x = timm.create_model("test_vit", **options).eval(), images(32)
    before = model(x)
    handle = insert(model, "model.blocks.[01]", CHANGE)
    assert handle.places
    assert not any(torch.equal(a, b) for a, b in zip(before, model(x), strict=True))
    handle.remove()
    assert all(torch.equal(a, b) for a, b in zip(before, model(x), strict=True))


def test_timm_converts_batch_norms_that_have_blocks() -> None:
    from timm.layers import convert_sync_batchnorm

    model, x = timm.create_model("test_efficientnet").eval(), images(32)
    handle = insert(model, "blocks.0.*.bn1", CHANGE)
    out = model(x)
    converted = convert_sync_batchnorm(model)
    assert "SyncBatchNorm" in type(converted.get_submodule(handle.places[0])).__name__
    assert_equal(converted(x), out, 1e-5)


def test_timm_wraps_a_network_that_has_blocks() -> None:
    from timm.models import FeatureListNet

    model, x = timm.create_model("test_resnet").eval(), images()
    insert(model, "layer3", CHANGE)
    expected = outputs(model, "layer4", x)
    assert torch.equal(FeatureListNet(model, out_indices=(4,))(x)[-1], expected)


@pytest.mark.parametrize("at", ["blocks", "blocks.*", "blocks.0.mlp", "blocks.0.attn", "norm"])
def test_vision_transformers(at) -> None:
    model, x = timm.create_model("test_vit", img_size=32, num_classes=5).eval(), images(32)
    out = model(x)
    handle = insert(model, at, IDENTITY)
    assert torch.equal(model(x), out)
    handle.remove()
    before = outputs(model, at.replace("*", "0"), x)
    (block, *_) = insert(model, at, CHANGE).blocks.values()
    assert_equal(outputs(model, at.replace("*", "0"), x), block(before), 1e-5)
    assert not torch.equal(model(x), out)


def test_transformers_on_maps_of_tokens() -> None:
    model = torchvision.models.swin_transformer.SwinTransformer(
        [2, 2], 6, [1, 1], [1, 1], [2, 2], num_classes=5
    ).eval()
    x = images(16)
    before = outputs(model, "features.3", x)
    (block,) = insert(model, "features.3", CHANGE).blocks.values()
    expected = block(before.flatten(1, 2)).view_as(before)
    assert_equal(outputs(model, "features.3", x), expected, 1e-5)


def test_convolutions_that_hide_linear_layers_need_an_example() -> None:
    model, x = timm.create_model("test_convnext").eval(), images(64)
    with pytest.raises(ValueError, match="give layout= or example="):
        insert(model, "stages.1", CHANGE)
    assert torch.equal(model(x), model(x))
    handle = insert(model, "stages.1", partial(IDENTITY), example=x)
    assert handle.identity
    assert handle.model is model
