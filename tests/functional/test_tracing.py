r"""A thread that compiles or exports is alone in that."""

from concurrent.futures import ThreadPoolExecutor

import torch
from properties import assert_equal
from samples import block, nodes
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.fx import GraphModule

from latentgraph.functional import Ragged


class Elsewhere:
    r"""A block called on ragged nodes in another thread."""

    def __init__(self) -> None:
        self.block, self.sample = block("latent_gnn"), nodes()
        self.expected = self.block(*self.sample)
        self.calls = 0

    def run(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self._call).result()

    def _call(self) -> None:
        assert is_compiling()  # torch says so in every thread
        x, batch, _ = self.sample
        assert_equal(self.block(x, Ragged(batch)), self.expected)
        assert_equal(self.block(x, batch), self.expected)
        self.calls += 1


def test_a_block_runs_while_another_thread_compiles() -> None:
    elsewhere = Elsewhere()

    def backend(graph: GraphModule, _: list[Tensor]) -> object:
        elsewhere.run()
        return graph.forward

    made, (x, batch, batch_size) = block("global_context"), nodes()
    out = torch.compile(made, backend=backend, fullgraph=True)(x, batch, batch_size)
    assert elsewhere.calls == 1
    assert_equal(out, made(x, batch, batch_size))


def test_a_block_runs_while_another_thread_exports() -> None:
    elsewhere = Elsewhere()

    class Exported(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = block("latent_gnn")

        def forward(self, x: Tensor, batch: Tensor) -> Tensor:
            if is_compiling():
                elsewhere.run()
            out: Tensor = self.made(x, batch, 6)
            return out

    module, (x, batch, _) = Exported(), nodes()
    exported = torch.export.export(module, (x, batch), strict=False).module()
    assert elsewhere.calls > 0
    assert_equal(exported(x, batch), module(x, batch))
