import numpy as np
import pytest
import torch
from properties import assert_equal
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader, RandomNodeLoader

from latentgraph.nn import GlobalContext, LatentGNN, SqueezeExcitation, position_features
from latentgraph.out_of_core import stream_chunks

N, C, B = 59, 12, 5
SIZES = (7, 1, 23, 11, 17)


def blocks() -> list[nn.Module]:
    made: list[nn.Module] = [
        LatentGNN(C, (5, 7), 2, gamma_init=0.7),
        LatentGNN(C, (5,), 2, mode="symmetric", norm="batch_norm", graph_conv=True, gamma_init=0.7),
        GlobalContext(C, 1 / 4, fuse=("add", "mul")),
        SqueezeExcitation(C, 1 / 4),
    ]
    for block in made:
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.5)
    return [block.eval() for block in made]


@pytest.fixture(params=range(4), ids=["asymmetric", "symmetric", "global context", "squeeze"])
def block(request: pytest.FixtureRequest) -> nn.Module:
    return blocks()[request.param]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, C)


def test_memory_mapped_file_to_file(block, x, tmp_path) -> None:
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    out = stream_chunks(block, mapped, tmp_path / "out.npy", chunk_size=13)
    assert isinstance(out, np.memmap)
    assert_equal(torch.from_numpy(np.array(out)), block(x))
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "out.npy"}


@pytest.mark.parametrize("sizes", [SIZES, (N,), (1,) * N, (0, 29, 0, 30)])
def test_chunks_of_any_sizes(block, x, sizes) -> None:
    out = torch.empty_like(x)
    assert stream_chunks(block, x.split(sizes), out, chunk_size=11) is out
    assert_equal(out, block(x))


@pytest.mark.parametrize("is_sorted", [True, False])
def test_many_graphs_in_chunks(block, x, is_sorted) -> None:
    batch = torch.randint(0, B, (N,))
    batch[batch == 2] = 3  # an empty graph
    batch = batch.sort().values if is_sorted else batch
    chunks = [Data(x=a, batch=b) for a, b in zip(x.split(SIZES), batch.split(SIZES), strict=True)]
    out = np.zeros((N, C), np.float32)
    stream_chunks(block, chunks, out, batch_size=B, chunk_size=13)
    assert_equal(torch.from_numpy(out), block(x, batch, B))


def test_positions_go_to_the_affinities(x) -> None:
    block = LatentGNN(C, (5,), 2, affinity_channels=4, gamma_init=0.7)
    seen = position_features(torch.randn(N, 3))
    chunks = [Data(x=x[i : i + 19], affinity_x=seen[i : i + 19]) for i in range(0, N, 19)]
    out = stream_chunks(block, chunks, torch.empty_like(x), chunk_size=7)
    assert_equal(out, block(x, affinity_x=seen))


def test_loader_in_another_order_each_time(block, x) -> None:
    data = Data(x=x, n_id=torch.arange(N), edge_index=torch.empty(2, 0, dtype=torch.int64))
    loader = RandomNodeLoader(data, num_parts=4, shuffle=True)
    out = stream_chunks(block, loader, torch.empty_like(x), chunk_size=5)
    assert_equal(out, block(x))


def test_loader_of_parts_of_one_graph(block, x) -> None:
    loader = DataLoader([Data(x=part) for part in x.split(SIZES)], batch_size=1)
    assert_equal(stream_chunks(block, loader, torch.empty_like(x)), block(x))


def test_seeds_of_a_node_loader(block, x) -> None:
    # What NeighborLoader gives, without the compiled package that it samples with.
    chunks = []
    for seeds in torch.randperm(N).split(17):
        neighbors = torch.randint(0, N, (9,))
        n_id = torch.cat([seeds, neighbors])
        chunks.append(Data(x=x[n_id], n_id=n_id, input_id=seeds, batch_size=len(seeds)))
    assert_equal(stream_chunks(block, chunks, torch.empty_like(x)), block(x))


def test_passes_instead_of_a_block(x) -> None:
    block = blocks()[0]
    out = stream_chunks(block.passes(), x, torch.empty_like(x), chunk_size=13)
    assert_equal(out, block(x))


def test_double_precision(x) -> None:
    block = blocks()[0].double()
    out = stream_chunks(block, x.double().numpy(), torch.empty(N, C).double(), chunk_size=13)
    assert_equal(out, block(x.double()))


def test_no_gradient_is_kept(block, x) -> None:
    out = stream_chunks(block, x.requires_grad_(), torch.empty(N, C))
    assert not out.requires_grad


class _Changing:
    r"""Chunks of which a pass sees one version, the next another."""

    def __init__(self, *versions: list[Tensor]) -> None:
        self.versions = iter(versions)

    def __iter__(self):
        return iter(next(self.versions))


@pytest.mark.parametrize(
    "change",
    [
        lambda chunks: chunks[::-1],
        lambda chunks: chunks[:-1],
        lambda chunks: [*chunks, chunks[0]],
        lambda chunks: [chunks[0] + 1e-3, *chunks[1:]],
        lambda chunks: [torch.cat(chunks[:2]), *chunks[2:]],
    ],
    ids=["order", "fewer", "more", "values", "sizes"],
)
def test_chunks_differ_between_passes(block, x, change, tmp_path) -> None:
    chunks = list(x.split(SIZES))
    with pytest.raises(ValueError, match="same chunks in both passes"):
        stream_chunks(block, _Changing(chunks, change(chunks)), tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


def test_shuffled_chunks_with_other_values(block, x) -> None:
    data = [Data(x=x[i : i + 1], n_id=torch.tensor([i])) for i in range(N)]
    other = [*data[:-1], Data(x=data[-1].x + 1, n_id=data[-1].n_id)]
    with pytest.raises(ValueError, match="same chunks in both passes"):
        stream_chunks(block, _Changing(data, other[::-1]), torch.empty_like(x))


def test_interrupted_run_leaves_nothing(block, x, tmp_path) -> None:
    class Interrupted:
        passes = 0

        def __iter__(self):
            self.passes += 1
            for i, part in enumerate(x.split(SIZES)):
                if self.passes == 2 and i == 3:
                    raise KeyboardInterrupt
                yield part

    (tmp_path / "out.npy").write_bytes(b"from before")
    with pytest.raises(KeyboardInterrupt):
        stream_chunks(block, Interrupted(), tmp_path / "out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]
    assert (tmp_path / "out.npy").read_bytes() == b"from before"


def _data(n_id: list[int]) -> Data:
    return Data(x=torch.zeros(len(n_id), C), n_id=torch.tensor(n_id))


@pytest.mark.parametrize(
    ("chunks", "error", "match"),
    [
        (iter([torch.zeros(3, C)]), TypeError, "iterated over twice.*got list_iterator"),
        ((torch.zeros(3, C) for _ in range(2)), TypeError, "iterated over twice.*got generator"),
        (7, TypeError, "iterated over twice.*got int"),
        ([], ValueError, "at least one chunk"),
        (torch.zeros(0, C), ValueError, "at least one chunk"),
        (torch.zeros(3, C, 1), ValueError, r"shape \(N, C\), got \(3, 12, 1\)"),
        ([torch.zeros(3, 11)], ValueError, r"shape \(n, 12\), got \(3, 11\)"),
        ([torch.zeros(3)], ValueError, r"shape \(n, 12\), got \(3,\)"),
        ([torch.zeros(3, C).double()], TypeError, "torch.float32, got torch.float64"),
        ([[0.0] * C], TypeError, "arrays, tensors or PyG's Data, got list"),
        ([Data(pos=torch.zeros(3, 3))], TypeError, "features x, got NoneType"),
        (
            [Data(x=torch.zeros(3, C), affinity_x=torch.zeros(3, 2))],
            ValueError,
            "0 channels, got 2",
        ),
        ([Data(x=torch.zeros(3, C), n_id=torch.arange(2))], ValueError, "n_id with one row .* 3"),
        ([Data(x=torch.zeros(3, C), n_id=torch.zeros(3))], TypeError, "int64, got torch.float32"),
        ([Data(x=torch.zeros(3, C), batch=torch.tensor([0, 2, 1]))], ValueError, "got 0 to 2"),
        ([Batch.from_data_list([Data(x=torch.zeros(3, C))] * 2)], ValueError, "Batch of 2 whole"),
        ([_data([0, 1]), _data([1])], ValueError, "n_id twice"),
        ([_data([0, 0])], ValueError, "n_id twice"),
        ([_data([0, 3])], ValueError, "got none for 1"),
        ([_data([-1, 0])], ValueError, "0 or more, got -1"),
    ],
)
def test_errors_of_chunks(chunks, error, match, tmp_path) -> None:
    with pytest.raises(error, match=match):
        stream_chunks(blocks()[0], chunks, tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


def test_errors_of_many_graphs(x) -> None:
    with pytest.raises(ValueError, match="batch_size=3, got chunks without"):
        stream_chunks(blocks()[0], x, torch.empty_like(x), batch_size=3)


@pytest.mark.parametrize(
    "out",
    [
        torch.empty(N - 1, C),
        torch.empty(N, C).double(),
        np.empty((N, C + 1), np.float32),
        np.empty((N, C), np.float64),
        np.broadcast_to(np.float32(0), (N, C)),
    ],
)
def test_errors_of_out(x, out) -> None:
    with pytest.raises(ValueError, match=r"of shape \(59, 12\) and torch.float32, got"):
        stream_chunks(blocks()[0], x, out)


def test_errors_of_the_rest(x, tmp_path) -> None:
    block = LatentGNN(C, (5,), 2, norm="batch_norm")
    with pytest.raises(ValueError, match=r"got visible.norm in training.*call eval\(\)"):
        stream_chunks(block, x, tmp_path / "out.npy")
    with pytest.raises(TypeError, match=r"block with passes\(\), got Linear"):
        stream_chunks(nn.Linear(C, C), x, tmp_path / "out.npy")
    with pytest.raises(FileNotFoundError, match="folder that exists"):
        stream_chunks(block.eval(), x, tmp_path / "none" / "out.npy")
    with pytest.raises(ValueError, match="chunk_size of 1 or more, got 0"):
        stream_chunks(block, x, tmp_path / "out.npy", chunk_size=0)
    half = LatentGNN(C, (5,), 2, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match="dtype that NumPy has, got"):
        stream_chunks(half, x.bfloat16(), tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


def test_progress_bar_only_on_a_terminal(block, x, capsys) -> None:
    stream_chunks(block, x, torch.empty_like(x))
    assert capsys.readouterr().err == ""
