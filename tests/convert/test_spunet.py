from itertools import product
from pathlib import Path

import pytest
import torch
from foreign import StateDict, apply_batch_norm, batch_norm, under
from properties import assert_equal
from torch import Tensor

from latentgraph.convert import from_spunet, read_state_dict

BASE, WIDTHS, LAYERS, IN, CLASSES = 3, (5, 7, 11, 5), (1, 2, 1, 2), 4, 13


def kernel(name: str, size: int, channels: int, out: int) -> StateDict:
    scale = (channels * size**3) ** -0.5
    return {f"{name}.weight": scale * torch.randn(out, size, size, size, channels).double()}


def layer(name: str, size: int, channels: int, out: int) -> StateDict:
    return kernel(f"{name}.0", size, channels, out) | batch_norm(f"{name}.1", out)


def block(name: str, channels: int, out: int) -> StateDict:
    weights = kernel(f"{name}.conv1", 3, channels, out) | batch_norm(f"{name}.bn1", out)
    weights |= kernel(f"{name}.conv2", 3, out, out) | batch_norm(f"{name}.bn2", out)
    return weights | (layer(f"{name}.proj", 1, channels, out) if channels != out else {})


def spunet() -> StateDict:
    r"""Two stages, each with more than one width and number of blocks."""
    weights = layer("conv_input", 5, IN, BASE)
    encoder, decoder = (BASE, *WIDTHS[:2]), (WIDTHS[3], WIDTHS[2], WIDTHS[1])
    for s in (0, 1):
        weights |= layer(f"down.{s}", 2, encoder[s], encoder[s + 1])
        for i in range(LAYERS[s]):
            weights |= block(f"enc.{s}.block{i}", encoder[s + 1], encoder[s + 1])
        weights |= layer(f"up.{s}", 2, decoder[s + 1], decoder[s])
        for i in range(LAYERS[3 - s]):
            before = decoder[s] + encoder[s] if i == 0 else decoder[s]
            weights |= block(f"dec.{s}.block{i}", before, decoder[s])
    final = kernel("final", 1, WIDTHS[3], CLASSES)
    return weights | final | {"final.bias": torch.randn(CLASSES).double()}


Voxels = dict[tuple[int, ...], Tensor]


def same(weights: StateDict, name: str, x: Voxels) -> Voxels:
    r"""A submanifold convolution, voxel by voxel."""
    w = weights[f"{name}.weight"]
    if w.size(1) == 1:  # spconv goes by the order of the numbers
        return {p: value @ w.reshape(w.size(4), w.size(0)) for p, value in x.items()}
    radius = w.size(1) // 2
    found: Voxels = {}
    for p in x:
        found[p] = torch.zeros(w.size(0)).double()
        for o in product(range(w.size(1)), repeat=3):
            q = tuple(a + b - radius for a, b in zip(p, o, strict=True))
            if q in x:
                found[p] += w[:, o[0], o[1], o[2]] @ x[q]
    return found


def norm(weights: StateDict, name: str, x: Voxels, relu: bool = True) -> Voxels:
    rows = apply_batch_norm(weights, name, torch.stack(list(x.values())), eps=1e-3)
    return dict(zip(x, rows.relu() if relu else rows, strict=True))


def residual(weights: StateDict, name: str, x: Voxels) -> Voxels:
    out = norm(weights, f"{name}.bn1", same(weights, f"{name}.conv1", x))
    out = norm(weights, f"{name}.bn2", same(weights, f"{name}.conv2", out), relu=False)
    beside = x
    if f"{name}.proj.0.weight" in weights:
        beside = norm(weights, f"{name}.proj.1", same(weights, f"{name}.proj.0", x), relu=False)
    return {p: (out[p] + beside[p]).relu() for p in x}


def run(weights: StateDict, x: Voxels) -> Voxels:
    r"""The network from its formulas, voxel by voxel."""
    x = norm(weights, "conv_input.1", same(weights, "conv_input.0", x))
    skips = [x]
    for s in (0, 1):
        w, coarse = weights[f"down.{s}.0.weight"], {}
        for p, value in x.items():
            q = tuple(a // 2 for a in p)
            coarse[q] = coarse.get(q, 0) + w[:, p[0] % 2, p[1] % 2, p[2] % 2] @ value
        x = norm(weights, f"down.{s}.1", coarse)
        for i in range(LAYERS[s]):
            x = residual(weights, f"enc.{s}.block{i}", x)
        skips.append(x)
    for s in (1, 0):
        w, fine = weights[f"up.{s}.0.weight"], skips[s]
        up = {p: w[:, p[0] % 2, p[1] % 2, p[2] % 2] @ x[tuple(a // 2 for a in p)] for p in fine}
        up = norm(weights, f"up.{s}.1", up)
        x = {p: torch.cat([up[p], fine[p]]) for p in fine}
        for i in range(LAYERS[3 - s]):
            x = residual(weights, f"dec.{s}.block{i}", x)
    return {p: value + weights["final.bias"] for p, value in same(weights, "final", x).items()}


def voxels(number: int = 61) -> tuple[Tensor, Tensor]:
    place = torch.randperm(7**3)[:number]
    return torch.stack([place // 49, place // 7 % 7, place % 7], dim=1), torch.randn(
        number, IN
    ).double()


def test_equals_the_formulas() -> None:
    weights = spunet()
    model, report = from_spunet(weights)
    coord, x = voxels()
    expected = run(weights, dict(zip(map(tuple, coord.tolist()), x, strict=True)))
    assert_equal(model(x, coord), torch.stack([expected[tuple(p)] for p in coord.tolist()]))
    assert set(report.used) == set(weights)
    assert set(report.used.values()) == set(model.state_dict())
    assert report.settings == {"eps": 1e-3}
    assert not model.training


def test_of_a_whole_checkpoint(tmp_path: Path) -> None:
    weights = spunet()
    theirs = under("backbone", weights) | {"seg_head.bias": torch.zeros(2).double()}
    torch.save({"epoch": 3, "state_dict": under("module", theirs)}, tmp_path / "model.pth")
    model, report = from_spunet(read_state_dict(tmp_path / "model.pth"))
    coord, x = voxels()
    assert torch.equal(model(x, coord), from_spunet(weights)[0](x, coord))
    assert report.outside == ("seg_head.bias",)
    assert report.used["backbone.enc.1.block1.conv2.weight"] == "encoder.2.1.conv2.weight"


def test_what_is_no_such_network() -> None:
    weights = spunet()
    with pytest.raises(TypeError, match="a state dict, got list"):
        from_spunet([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"one SpUNet, .* got none; there are a"):
        from_spunet({"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"got several, under one\., two\."):
        from_spunet(under("one", weights) | under("two", weights))
    for changes, message in (
        ({"final.weight": None, "final.bias": None}, "2 dec and no final"),
        ({"enc.1.block0.bn1.weight": None}, "missing: enc.1.block0.bn1.weight; left over: none"),
        ({"enc.1.block0.extra": torch.zeros(3).double()}, "left over: enc.1.block0.extra"),
        ({"conv_input.0.weight": torch.zeros(5, 5, 5, 4).double()}, "as spconv 2 has it, got"),
        ({"up.1.0.weight": torch.zeros(11, 2, 2, 2, 6).double()}, "'up.1.0.weight' of shape"),
    ):
        wrong = {key: value for key, value in (weights | changes).items() if value is not None}
        with pytest.raises(ValueError, match=message):
            from_spunet(wrong)


@pytest.mark.slow
def test_equals_spconv_on_the_processor() -> None:
    r"""The network as spconv runs it, where that is installed."""
    spconv = pytest.importorskip("spconv.pytorch")
    weights = {key: w.float() if w.is_floating_point() else w for key, w in spunet().items()}
    coord, x = voxels()
    x = x.float()
    indices = torch.cat([torch.zeros(len(coord), 1), coord], dim=1).int().contiguous()

    def conv(kind, name, sparse, **options):
        w = weights[f"{name}.weight"]
        layer = kind(w.size(4), w.size(0), w.size(1), bias=False, **options)
        layer.load_state_dict({"weight": w})
        return layer(sparse)

    def normed(name, sparse, relu=True):
        rows = apply_batch_norm(weights, name, sparse.features, eps=1e-3)
        return sparse.replace_feature(rows.relu() if relu else rows)

    def run_block(name, sparse, key):
        out = normed(
            f"{name}.bn1", conv(spconv.SubMConv3d, f"{name}.conv1", sparse, indice_key=key)
        )
        out = conv(spconv.SubMConv3d, f"{name}.conv2", out, indice_key=key)
        out, beside = normed(f"{name}.bn2", out, relu=False), sparse
        if f"{name}.proj.0.weight" in weights:
            beside = conv(spconv.SubMConv3d, f"{name}.proj.0", sparse)
            beside = normed(f"{name}.proj.1", beside, relu=False)
        return out.replace_feature((out.features + beside.features).relu())

    with torch.no_grad():
        sparse = spconv.SparseConvTensor(x, indices, [103, 103, 103], 1)
        sparse = normed("conv_input.1", conv(spconv.SubMConv3d, "conv_input.0", sparse))
        skips = [sparse]
        for s in (0, 1):
            down = conv(spconv.SparseConv3d, f"down.{s}.0", sparse, stride=2, indice_key=f"d{s}")
            sparse = normed(f"down.{s}.1", down)
            for i in range(LAYERS[s]):
                sparse = run_block(f"enc.{s}.block{i}", sparse, f"s{s + 1}")
            skips.append(sparse)
        for s in (1, 0):
            up = conv(spconv.SparseInverseConv3d, f"up.{s}.0", sparse, indice_key=f"d{s}")
            sparse = normed(f"up.{s}.1", up)
            both = torch.cat([sparse.features, skips[s].features], dim=1)
            sparse = sparse.replace_feature(both)
            for i in range(LAYERS[3 - s]):
                sparse = run_block(f"dec.{s}.block{i}", sparse, f"s{s}")
        expected = conv(spconv.SubMConv3d, "final", sparse).features + weights["final.bias"]
        model, _ = from_spunet(weights)
        assert torch.equal(sparse.indices, indices)
        assert_equal(model(x, coord), expected, 1e-5)
