import pytest
import torch
from properties import assert_all_equal, assert_equal
from samples import BLOCKS, CHANNELS, block
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from latentgraph.nn import LatentGNN, OnGrid, grid_to_nodes, nodes_to_grid

FORMATS = [
    pytest.param((11,), torch.contiguous_format, id="1-d"),
    pytest.param((5, 7), torch.contiguous_format, id="2-d"),
    pytest.param((5, 7), torch.channels_last, id="2-d channels-last"),
    pytest.param((2, 5, 3), torch.contiguous_format, id="3-d"),
    pytest.param((2, 5, 3), torch.channels_last_3d, id="3-d channels-last"),
]
formats = pytest.mark.parametrize(("spatial", "memory_format"), FORMATS)


def maps(spatial, memory_format, num_samples: int = 3) -> Tensor:
    x = torch.randn(num_samples, CHANNELS, *spatial, dtype=torch.float64)
    return x.contiguous(memory_format=memory_format)


@pytest.mark.parametrize("name", ["latent_gnn_conv", "global_context", "squeeze_excitation"])
@pytest.mark.parametrize("chunk_size", [None, 4])
@formats
def test_maps_equal_nodes_and_keep_their_memory_format(
    spatial, memory_format, chunk_size, name
) -> None:
    made = block(name)
    made.chunk_size = chunk_size
    x = maps(spatial, memory_format).requires_grad_()
    out = OnGrid(made)(x)
    nodes, batch = grid_to_nodes(x)
    expected = nodes_to_grid(made(nodes, batch), spatial)
    assert_equal(out, expected)
    assert out.stride() == x.stride()
    leaves, grad_out = (x, *made.parameters()), torch.randn_like(x)
    assert_all_equal(*(torch.autograd.grad(y, leaves, grad_out) for y in (out, expected)))


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("spatial", [(1,), (1, 1), (1, 5), (5, 1), (5, 7), (1, 1, 1), (2, 1, 3)])
@pytest.mark.parametrize("name", ["latent_gnn", "global_context"])
def test_maps_keep_strides_of_sides_of_length_one(name, spatial, num_samples) -> None:
    grid = OnGrid(block(name))
    x = torch.randn(num_samples, CHANNELS, *spatial, dtype=torch.float64)
    last = torch.randn(num_samples, *spatial, CHANNELS, dtype=torch.float64).movedim(-1, 1)
    for maps_in_a_format in (x, last) if len(spatial) > 1 else (x,):
        leaf = maps_in_a_format.requires_grad_()
        out = grid(leaf)
        assert out.stride() == leaf.stride()
        nodes, batch = grid_to_nodes(leaf)
        expected = nodes_to_grid(grid.block(nodes, batch), spatial)
        assert_equal(out, expected)
        grad_out = torch.randn_like(out)
        assert_all_equal(*(torch.autograd.grad(y, leaf, grad_out) for y in (out, expected)))


@formats
def test_the_block_gets_a_view_of_the_map(spatial, memory_format) -> None:
    class Probe(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = x
            return x + 1

    probe, x = Probe(), maps(spatial, memory_format)
    assert torch.equal(OnGrid(probe)(x), x + 1)
    assert probe.seen.shape == (3, x[0, 0].numel(), CHANNELS)
    assert probe.seen.data_ptr() == x.data_ptr()
    assert probe.seen.stride(2) == x.stride(1)


class TransposingCopies(TorchDispatchMode):
    r"""Counts the copies of at least ``numel`` numbers into another order of dimensions."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel, self.count = numel, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.clone, torch.ops.aten.copy_):
            source = args[-1] if func.overloadpacket is torch.ops.aten.copy_ else args[0]
            orders = [sorted(range(t.dim()), key=t.stride) for t in (source, out)]
            self.count += out.numel() >= self.numel and orders[0] != orders[1]
        return out


def count_transposing_copies(name: str, memory_format, chunk_size: int) -> int:
    made = block(name)
    made.chunk_size = chunk_size
    x = maps((5, 7), memory_format)
    count = 0
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled), TransposingCopies(11 * CHANNELS) as copies:
            OnGrid(made)(x)
        count += copies.count
    return count


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_no_copy_is_transposed(memory_format, name) -> None:
    assert count_transposing_copies(name, memory_format, chunk_size=16) == 0


@pytest.mark.parametrize("name", ["latent_gnn", "global_context"])
@pytest.mark.parametrize("chunk_size", [80, 1000], ids=["two maps", "all maps"])
def test_no_copy_is_transposed_where_a_chunk_has_several_maps(name, chunk_size) -> None:
    assert count_transposing_copies(name, torch.contiguous_format, chunk_size) == 0


@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm", None])
@pytest.mark.parametrize("options", [{}, {"latent_dims": (3, 7), "graph_conv": True}], ids=str)
@pytest.mark.parametrize("chunk_size", [None, 200], ids=["whole", "chunks"])
def test_maps_of_many_channels_equal_nodes(chunk_size, options, norm) -> None:
    channels, shape = 523, (2, 523, 13, 11)
    made = LatentGNN(channels, reduction=8, norm=norm, chunk_size=chunk_size, **options).eval()
    with torch.no_grad():
        made.gamma.fill_(0.7)
        for name, bias in made.named_parameters():
            if "psi" in name and name.endswith("norm.bias"):
                bias.fill_(2)  # away from the kink, by which rounding is enlarged
    x, grad_out = torch.randn(shape), torch.randn(shape)

    def of(maps: Tensor) -> list[Tensor]:
        leaf = maps.detach().requires_grad_()
        with torch.no_grad():
            without = OnGrid(made)(leaf)
        out = OnGrid(made)(leaf)
        leaves = (leaf, *made.parameters())
        return [without, out, *torch.autograd.grad(out, leaves, grad_out.to(leaf.dtype))]

    copies = TransposingCopies(143 * channels)
    with copies:
        found = of(x)
    last = of(x.contiguous(memory_format=torch.channels_last))
    made.double()
    exact = of(x.double())
    for each in (found, last):
        assert_all_equal(each[:2], exact[:2])
        assert_all_equal(each[2:], exact[2:], 1e-4)
    assert all(maps.is_contiguous() for maps in found[:3])
    assert copies.count == 0


def test_a_map_in_no_memory_format_comes_out_contiguous() -> None:
    made, x = block("latent_gnn"), maps((5, 7), torch.contiguous_format)[:, :, ::2, 1:]
    out = OnGrid(made)(x)
    assert_equal(out, OnGrid(made)(x.contiguous()))
    assert out.is_contiguous()


@pytest.mark.parametrize("shape", [(0, CHANNELS, 5, 7), (3, CHANNELS, 0, 7), (1, CHANNELS, 1)])
@pytest.mark.parametrize("name", BLOCKS)
def test_no_samples_no_pixels_and_one_pixel(name, shape) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    out = OnGrid(block(name))(x)
    assert out.shape == shape
    assert out.isfinite().all()


def test_nodes_of_a_channels_last_map_are_a_view() -> None:
    x = maps((5, 7), torch.channels_last)
    nodes, batch = grid_to_nodes(x)
    assert nodes.data_ptr() == x.data_ptr()
    assert torch.equal(nodes[35 + 7 * 2 + 4], x[1, :, 2, 4])
    assert torch.equal(batch, torch.arange(3).repeat_interleave(35))


@formats
def test_grid_to_nodes_and_back(spatial, memory_format) -> None:
    x = maps(spatial, memory_format)
    assert torch.equal(nodes_to_grid(grid_to_nodes(x)[0], spatial), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OnGrid(nn.Identity())(torch.randn(3, 5)), r"1, 2 or 3 spatial .* got \(3, 5\)"),
        (lambda: OnGrid(nn.Identity())(torch.randn(1, 2, 1, 1, 1, 1)), "1, 2 or 3 spatial"),
        (lambda: grid_to_nodes(torch.randn(3, 5)), r"1, 2 or 3 spatial .* got \(3, 5\)"),
        (lambda: nodes_to_grid(torch.randn(34, 5), (5, 7)), r"\(B\*35, C\) .* got \(34, 5\)"),
        (lambda: nodes_to_grid(torch.randn(35), (5, 7)), r"got \(35,\)"),
        (lambda: OnGrid(BLOCKS["latent_gnn"](7))(torch.randn(1, 5, 2)), r"\(N, 7\) .* \(1, 2, 5\)"),
    ],
)
def test_bad_input_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_reset_parameters_resets_the_block() -> None:
    grid = OnGrid(block("latent_gnn"))
    grid.reset_parameters()
    assert grid.block.gamma.item() == 0
