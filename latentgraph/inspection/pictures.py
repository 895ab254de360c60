r"""Pictures of attention maps and of latent nodes, on maps or on points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentgraph.inspection.affinity import dense_affinities, latent_of_nodes
from latentgraph.inspection.calls import Call
from latentgraph.needs import need
from latentgraph.nn.sub_sampling import GridPool

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_attention(
    call: Call,
    queries: Sequence[int],
    graph: int = 0,
    kernel: int = 0,
    pos: Tensor | None = None,
    image: Tensor | None = None,
) -> Figure:
    r"""Attention maps of a few nodes, rows of :math:`A = S F P^\top`, all on one scale.

    Args:
        call: from :func:`~latentgraph.inspection.record`.
        queries: numbers of nodes in their graph; on a map of width w, ``row * w + column``.
        graph: the graph.
        kernel: which of the block's kernels.
        pos: (N, 2) or (N, 3), places of the graph's nodes, where they lie on no 2-D map.
        image: (H, W), (3, H, W) or (1, H, W) that the graph was computed from, to be drawn first.

    Returns:
        A figure, for ``figure.savefig``; the query is marked by a cross.

    Raises:
        ValueError: a query or a kernel does not exist, or places are missing or do not fit.
        ImportError: matplotlib is missing.
    """
    maps = dense_affinities(call, graph)
    weight = _kernel(maps, kernel, call).cpu()
    num_nodes, num_senders = weight.shape
    if not queries or not all(0 <= query < num_nodes for query in queries):
        raise ValueError(f"expected queries from 0 to {num_nodes - 1}, got {list(queries)}")
    places = _Places(call, pos, num_nodes)
    figure, axes = _panels(len(queries), places.three, image)
    rows = weight[list(queries)]
    low, high = min(0.0, float(rows.min())), float(rows.max())
    for query, ax in zip(queries, axes, strict=True):
        options = {"cmap": "viridis", "vmin": low, "vmax": high}
        shown = places.draw(ax, weight[query], num_senders, places.window, **options)
        places.mark(ax, query)
        ax.set_title(f"query {query}", fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="weight of the sender")
    return figure


def draw_latent_nodes(
    call: Call,
    graph: int = 0,
    kernel: int = 0,
    pos: Tensor | None = None,
    image: Tensor | None = None,
) -> Figure:
    r"""Visible nodes in the color of the latent node that each hears most from.

    Args:
        call: from :func:`~latentgraph.inspection.record`.
        graph: the graph.
        kernel: which of the block's kernels.
        pos: (N, 2) or (N, 3), places of the graph's nodes, where they lie on no 2-D map.
        image: (H, W), (3, H, W) or (1, H, W) that the graph was computed from, to be drawn first.

    Returns:
        A figure, for ``figure.savefig``; a node that hears from none is left out.

    Raises:
        ValueError: the graph or the kernel does not exist, or places are missing or do not fit.
        ImportError: matplotlib is missing.
    """
    latent = latent_of_nodes(call, kernel).cpu()
    latent = latent[call.message_graph()["visible"].batch.cpu() == graph]
    if not latent.numel():
        raise ValueError(f"expected a graph that has nodes, got graph={graph}")
    places = _Places(call, pos, latent.numel())
    figure, axes = _panels(1, places.three, image)
    heard, color = latent[latent >= 0].unique(return_inverse=True)
    values = torch.full_like(latent, torch.nan, dtype=torch.float64)
    values[latent >= 0] = color.double()
    count = max(1, heard.numel())
    options = {"cmap": _distinct_colors(count), "vmin": -0.5, "vmax": count - 0.5}
    shown = places.draw(axes[0], values, latent.numel(), (1, 1), **options)
    ticks = list(range(0, heard.numel(), 1 + count // 12))
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, label="latent node", ticks=ticks)
    bar.ax.set_yticklabels([str(int(heard[tick])) for tick in ticks])
    bar.ax.minorticks_off()
    return figure


class _Places:
    r"""Where the nodes of a graph are drawn: on the 2-D map of the call, or at ``pos``."""

    def __init__(self, call: Call, pos: Tensor | None, num_nodes: int) -> None:
        spatial = call.spatial
        if pos is not None:
            if pos.dim() != 2 or pos.size(0) != num_nodes or pos.size(1) not in (2, 3):
                raise ValueError(
                    f"expected pos of shape ({num_nodes}, 2 or 3), got {tuple(pos.shape)}"
                )
            pos = pos.detach().cpu()
        elif spatial is None or len(spatial) != 2:
            got = "no map" if spatial is None else f"a map of {spatial}"
            raise ValueError(f"expected a call on a 2-D map, or pos=, got {got}")
        self.pos, self.spatial = pos, spatial
        self.three = pos is not None and pos.size(1) == 3
        pool = call.arguments.get("pool")
        self.window = pool.window if isinstance(pool, GridPool) else (1, 1)
        self.num_nodes = num_nodes

    def draw(
        self, ax: Any, values: Tensor, num_values: int, window: tuple[int, ...], **options: Any
    ) -> Any:
        r"""A value for each node, or for each place of a pool's ``window``."""
        if self.pos is not None:
            self._check(num_values, self.num_nodes)
            size = min(60.0, max(2.0, 6_000 / self.num_nodes))
            return ax.scatter(*self.pos.T.numpy(), c=values.numpy(), s=size, **options)
        assert self.spatial is not None
        (height, width), (rows, columns) = self.spatial, window
        kept = height // rows, width // columns
        self._check(num_values, kept[0] * kept[1])
        # In units of the map's own positions: a pooled one covers its window.
        extent = (-0.5, kept[1] * columns - 0.5, kept[0] * rows - 0.5, -0.5)
        shown = ax.imshow(values.view(kept).numpy(), extent=extent, **options)
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        return shown

    def mark(self, ax: Any, node: int) -> None:
        if self.pos is not None:
            at = self.pos[node].tolist()
        else:
            assert self.spatial is not None
            at = [node % self.spatial[1], node // self.spatial[1]]
        ax.scatter(*at, marker="x", color="red", s=60, linewidths=2)

    def _check(self, num_values: int, num_places: int) -> None:
        if num_values != num_places:
            raise ValueError(
                f"expected a place for each of {num_values} senders, got {num_places}; senders "
                "that a callable pool leaves cannot be drawn"
            )


def _distinct_colors(count: int) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    few = colormaps["tab10" if count <= 10 else "tab20"]
    if count <= few.N:
        return ListedColormap([few(i) for i in range(count)])
    return colormaps["gist_ncar"].resampled(count)


def _kernel(found: list[Tensor], kernel: int, call: Call) -> Tensor:
    if not 0 <= kernel < len(found):
        raise ValueError(f"expected a kernel of {call.block}, got {kernel}")
    return found[kernel]


def _panels(count: int, three: bool, image: Tensor | None) -> tuple[Figure, list[Any]]:
    r"""A figure of ``count`` panels, behind one with the image if there is any."""
    matplotlib = need("matplotlib.figure", "to draw", "inspection")
    before = 0 if image is None else 1
    figure: Figure = matplotlib.Figure(
        figsize=(2.4 * (before + count) + 1, 2.8), layout="constrained"
    )
    if image is not None:
        _draw_image(figure.add_subplot(1, 1 + count, 1), image.detach().cpu())
    options = {"projection": "3d"} if three else {}
    axes = []
    for i in range(count):
        ax = figure.add_subplot(1, before + count, 1 + before + i, aspect="equal", **options)
        ax.set(xticks=[], yticks=[], **({"zticks": []} if three else {}))
        axes.append(ax)
    return figure, axes


def _draw_image(ax: Any, image: Tensor) -> None:
    colors = image.permute(1, 2, 0).squeeze(2) if image.dim() == 3 else image
    if colors.dim() != 2 and colors.shape[2:] != (3,):
        raise ValueError(
            f"expected image of shape (H, W), (1, H, W) or (3, H, W), got {tuple(image.shape)}"
        )
    ax.imshow(colors.numpy(), cmap="gray")
    ax.set(xticks=[], yticks=[])
    ax.set_title("input", fontsize=9)
