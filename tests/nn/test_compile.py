r"""Blocks under torch.compile, torch.export and ONNX, with any number of nodes."""

import copy

import pytest
import torch
from onnx.reference import ReferenceEvaluator
from properties import assert_all_equal, assert_equal
from samples import BLOCKS, CHANNELS, block, nodes, randomized
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend

from latentgraph.functional import Ragged
from latentgraph.nn import LatentGNN, VisibleToLatentConv

# Dynamo instantiates the autograd functions that it meets, and torch warns that nobody should.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

NUM_NODES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
B = 3


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch._dynamo.reset()


def sample(num_nodes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(num_nodes, CHANNELS, dtype=dtype), torch.randint(B, (num_nodes,))


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one graph"])
@pytest.mark.parametrize("name", ["latent_gnn_conv", "global_context"])
def test_twelve_sizes_make_at_most_two_graphs(name, batched) -> None:
    made, counter = block(name), CompileCounter()
    compiled = torch.compile(made, fullgraph=True, backend=counter)
    for num_nodes in NUM_NODES:
        x, batch = sample(num_nodes)
        arguments = (x, batch, B) if batched else (x,)
        assert_equal(compiled(*arguments), made(*arguments))
    assert counter.frame_count <= 2


def test_gradients_through_a_compiled_model_with_a_shared_ragged() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([block("latent_gnn_conv"), block("global_context")])

        def forward(self, x: Tensor, batch: Tensor) -> Tensor:
            graphs = Ragged(batch, B)
            for made in self.blocks:
                x = made(x, graphs)
            return x

    model, counter = Model(), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for num_nodes in (7, 11, 5):
        x, batch = sample(num_nodes)
        leaves = (x.requires_grad_(), *model.parameters())
        gradients = (
            torch.autograd.grad(m(x, batch).square().sum(), leaves) for m in (compiled, model)
        )
        assert_all_equal(*gradients)
    assert counter.frame_count <= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor imports it
@pytest.mark.parametrize("name", BLOCKS)
def test_inductor(name) -> None:
    made = block(name)
    compiled = torch.compile(made, fullgraph=True, dynamic=True)
    for num_nodes in (7, 11):
        x, batch = sample(num_nodes)
        leaves = (x.requires_grad_(), *made.parameters())
        gradients = (
            torch.autograd.grad(m(x, batch, B).square().sum(), leaves) for m in (compiled, made)
        )
        assert_all_equal(*gradients)


def test_batch_norm_in_training_compiles_and_counts_once() -> None:
    made = randomized(LatentGNN(CHANNELS, (5,), mode="symmetric", norm="batch_norm"))
    other, counter = copy.deepcopy(made), CompileCounter()
    compiled = torch.compile(made, fullgraph=True, backend=counter)
    for num_nodes in (7, 11, 13):
        x, batch = sample(num_nodes)
        assert_equal(compiled(x, batch, B), other(x, batch, B))
    assert_all_equal(list(made.buffers()), list(other.buffers()))
    assert counter.frame_count <= 2


def test_a_layer_compiles() -> None:
    conv, counter = VisibleToLatentConv(), CompileCounter()
    compiled = torch.compile(conv, fullgraph=True, backend=counter)
    for num_nodes in NUM_NODES:
        x, batch = sample(num_nodes)
        arguments = (x, None, torch.randn(num_nodes, 5).double(), batch, B)
        assert_equal(compiled(*arguments), conv(*arguments))
    assert counter.frame_count <= 2


def test_compiling_with_a_batch_needs_its_size() -> None:
    compiled = torch.compile(block("latent_gnn"), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"expected batch_size= beside batch under torch.compile"):
        compiled(*sample(7))


@pytest.mark.parametrize("name", ["latent_gnn_top_k", "latent_gnn_symmetric", "global_context"])
def test_export_with_any_number_of_nodes(name) -> None:
    made, dynamic = block(name), {0: torch.export.Dim.DYNAMIC}
    x, batch, batch_size = nodes()
    batched = torch.export.export(
        made, (x, batch, batch_size), dynamic_shapes=(dynamic, dynamic, None)
    ).module()
    single = torch.export.export(made, (x,), dynamic_shapes=(dynamic,)).module()
    for sizes in ((2, 0, 1, 0, 0, 5), (17, 1, 0, 0, 0, 0)):
        x, batch, _ = nodes(sizes)
        assert_equal(batched(x, batch, batch_size), made(x, batch, batch_size))
        assert_equal(single(x), made(x))


@pytest.mark.parametrize("name", ["latent_gnn_top_k", "latent_gnn_symmetric", "global_context"])
def test_no_number_of_nodes_is_another_case(name) -> None:
    made, n = block(name, dtype=torch.float32), {0: torch.export.Dim("n")}  # of which all are asked
    x, batch = sample(11, torch.float32)
    torch.export.export(made, (x,), dynamic_shapes=(n,))
    torch.export.export(made, (x, batch, B), dynamic_shapes=(n, n, None))


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")
@pytest.mark.parametrize("name", ["latent_gnn_conv", "global_context", "squeeze_excitation"])
def test_onnx_with_any_number_of_nodes(name) -> None:
    made = block(name, dtype=torch.float32).eval()
    exported = torch.onnx.export(
        made,
        (sample(11, torch.float32)[0],),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
    assert exported is not None
    evaluator = ReferenceEvaluator(exported.model_proto)
    for num_nodes in (3, 31):
        x, _ = sample(num_nodes, torch.float32)
        (out,) = evaluator.run(None, {evaluator.input_names[0]: x.numpy()})
        assert_equal(torch.from_numpy(out), made(x))
