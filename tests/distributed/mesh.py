r"""Nodes over one dimension of a device mesh, batches over the other."""

import copy

import torch
import torch.distributed as dist
from properties import assert_all_equal
from samples import nodes, randomized
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from latentgraph.distributed import sharded_nodes, sum_gradients
from latentgraph.nn import GlobalContext, LatentGNN


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(7, 12), nn.Linear(12, 3)
        self.latent_gnn = LatentGNN(12, (5,), 2, norm="batch_norm")
        self.context = GlobalContext(12, 1 / 2)

    def forward(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        x = self.latent_gnn(self.first(x), batch, batch_size)
        y: Tensor = self.last(self.context(x, batch, batch_size))
        return y


def check_mesh() -> None:
    r"""Steps of training are those of one process that averages over two batches."""
    torch.manual_seed(0)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "nodes"))
    network = randomized(Network())
    # One batch norm for each batch: their running statistics go separate ways, as DDP has them.
    single = copy.deepcopy(network)
    batches = [nodes(sizes, 7) for sizes in ((7, 0, 3), (11, 5, 1))]
    targets = [torch.randn(len(batch.x), 3, dtype=torch.float64) for batch in batches]
    data, own = mesh["data"].get_local_rank(), mesh["nodes"].get_local_rank()
    (x, batch, batch_size), target = batches[data], targets[data]
    mine = torch.arange(len(x)) % 2 == own

    parallel = DistributedDataParallel(
        network, process_group=mesh["data"].get_group(), broadcast_buffers=False
    )
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (network, single)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with sharded_nodes(mesh["nodes"].get_group()):
            out = parallel(x[mine], batch[mine], batch_size)
        ((out - target[mine]).square().sum() / len(x)).backward()
        sum_gradients(parallel, mesh["nodes"].get_group())

        for each, wanted in zip(batches, targets, strict=True):
            (single(*each) - wanted).square().sum().div(2 * len(wanted)).backward()
        for optimizer in optimizers:
            optimizer.step()
        assert_all_equal(list(network.parameters()), list(single.parameters()), 1e-11)

    everyone = [torch.cat([p.detach().flatten() for p in network.parameters()])] * 4
    gathered = [torch.empty_like(everyone[0]) for _ in range(4)]
    dist.all_gather(gathered, everyone[0])
    assert_all_equal(gathered, everyone, 1e-14)


def check_sum_gradients() -> None:
    r"""Sums, not means; of several dtypes; a gradient that only some ranks have, or none has."""
    rank = dist.get_rank()
    dtypes = (torch.float32, torch.float64, torch.float32, torch.float32)
    some, other, alone, never = (nn.Parameter(torch.zeros(3, 2, dtype=t)) for t in dtypes)
    frozen = nn.Parameter(torch.zeros(5), requires_grad=False)
    some.grad, other.grad = torch.full_like(some, rank + 1), torch.full_like(other, 10.0)
    kept = some.grad
    if rank == 1:
        alone.grad = torch.full_like(alone, 7.0)
    sum_gradients([some, other, alone, never, frozen])
    assert some.grad is kept
    assert (some.grad == 10).all()
    assert (other.grad == 40).all()
    assert alone.grad is not None
    assert (alone.grad == 7).all()
    assert never.grad is None
    assert frozen.grad is None


def check_gradients() -> None:
    check_sum_gradients()
    check_mesh()
