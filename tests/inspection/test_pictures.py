import numpy as np
import pytest
import torch
from samples import randomized

from latentgraph.inspection import (
    dense_affinities,
    draw_attention,
    draw_latent_nodes,
    latent_of_nodes,
    record,
)
from latentgraph.nn import LatentGNN, NonLocal, OnGrid

MAPS = torch.linspace(-3, 2, 2 * 5 * 7 * 11).sin().view(2, 5, 7, 11)


def of_maps(pool=None):
    block = randomized(NonLocal(5), torch.float32)
    return record(OnGrid(block, pool=pool), MAPS)[0]


def test_attention_maps_are_the_rows_of_a(tmp_path) -> None:
    call = of_maps()
    figure = draw_attention(call, [0, 40, 76], graph=1)
    [dense] = dense_affinities(call, 1)
    *panels, _ = figure.axes
    assert len(panels) == 3
    for query, ax in zip((0, 40, 76), panels, strict=True):
        shown = ax.images[0]
        np.testing.assert_array_equal(shown.get_array(), dense[query].view(7, 11))
        assert shown.get_clim() == (0, pytest.approx(float(dense[[0, 40, 76]].max())))
        [cross] = ax.collections[0].get_offsets().tolist()
        assert cross == [query % 11, query // 11]
    figure.savefig(tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 1_000


def test_latent_nodes_of_a_block_with_a_pool_are_drawn_on_the_whole_map() -> None:
    ax, _ = draw_latent_nodes(of_maps(pool=2), graph=1).axes
    shown = ax.images[0].get_array().filled(np.nan)
    # Every visible node is its own latent node.
    np.testing.assert_array_equal(shown.ravel(), np.arange(77))


def test_pooled_maps_lie_over_the_positions_they_pool() -> None:
    call = of_maps(pool=2)
    image = torch.rand(3, 7, 11)
    first, ax, _ = draw_attention(call, [9], image=image).axes
    np.testing.assert_array_equal(first.images[0].get_array(), image.permute(1, 2, 0))
    shown = ax.images[0]
    assert shown.get_array().shape == (3, 5)
    assert shown.get_extent() == [-0.5, 9.5, 5.5, -0.5]  # a row and a column are left out
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 10.5), (6.5, -0.5))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_attention_on_points(dimensions) -> None:
    pos = torch.randn(13, dimensions)
    [call] = record(randomized(NonLocal(5), torch.float32), torch.randn(13, 5))
    ax, _ = draw_attention(call, [4], pos=pos, image=torch.rand(1, 5, 7)).axes[1:]
    points, cross = ax.collections
    np.testing.assert_array_equal(points.get_array(), dense_affinities(call)[0][4])
    drawn = [c._offsets3d if dimensions == 3 else c.get_offsets().T for c in (points, cross)]
    np.testing.assert_allclose(np.stack([*drawn[0]]), pos.T, rtol=1e-6)
    np.testing.assert_allclose(np.stack([*drawn[1]])[:, 0], pos[4], rtol=1e-6)


def test_latent_nodes_have_their_own_colors() -> None:
    block = randomized(LatentGNN(5, (3, 7), reduction=1, norm=None), torch.float32)
    [call] = record(OnGrid(block), MAPS)
    of = latent_of_nodes(call, 1).view(2, 7, 11)[1]
    ax, bar = draw_latent_nodes(call, graph=1, kernel=1).axes
    labels = [int(label.get_text()) for label in bar.get_yticklabels()]
    assert labels == of[of >= 0].unique().tolist()
    colors = ax.images[0].get_array()
    assert np.array_equal(np.isfinite(np.ma.filled(colors, np.nan)), of >= 0)
    for color, latent in enumerate(labels):
        assert np.array_equal(colors == color, of == latent)


def test_more_latent_nodes_than_named_colors() -> None:
    block = randomized(LatentGNN(5, (64,), reduction=1, norm=None), torch.float32)
    x = torch.randn(997, 5)
    [call] = record(block, x)
    heard = latent_of_nodes(call).unique().numel()
    assert heard > 20
    ax, bar = draw_latent_nodes(call, pos=x[:, :2]).axes
    assert heard == ax.collections[0].get_cmap().N
    assert len(bar.get_yticklabels()) <= 13


def test_what_cannot_be_drawn_is_an_error() -> None:
    call, [nodes] = of_maps(), record(NonLocal(5), torch.randn(13, 5))
    with pytest.raises(ValueError, match=r"queries from 0 to 76, got \[77\]"):
        draw_attention(call, [77])
    with pytest.raises(ValueError, match=r"got \[\]"):
        draw_attention(call, [])
    with pytest.raises(ValueError, match=r"expected a kernel of NonLocal.*, got 1"):
        draw_attention(call, [0], kernel=1)
    with pytest.raises(ValueError, match="a 2-D map, or pos=, got no map"):
        draw_attention(nodes, [0])
    with pytest.raises(ValueError, match=r"pos of shape \(13, 2 or 3\), got \(11, 2\)"):
        draw_latent_nodes(nodes, pos=torch.randn(11, 2))
    with pytest.raises(ValueError, match=r"got a map of \(7,\)"):
        draw_latent_nodes(record(OnGrid(NonLocal(5)), torch.randn(2, 5, 7))[0])
    with pytest.raises(ValueError, match=r"expected image of shape .*, got \(2, 7, 11\)"):
        draw_attention(call, [0], image=torch.rand(2, 7, 11))
    with pytest.raises(ValueError, match="a graph that has nodes, got graph=2"):
        draw_latent_nodes(call, graph=2)
    pooled = NonLocal(5, pool=lambda x, batch: (x[:, ::2], batch))
    with pytest.raises(ValueError, match="for each of 39 senders, got 77"):
        draw_attention(record(OnGrid(pooled), MAPS)[0], [0])


def test_without_matplotlib(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"latentgraph\[inspection\]"):
        draw_attention(of_maps(), [0])
