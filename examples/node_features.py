r"""Far nodes: LatentGNN beside a local convolution of PyG.

One node of each ring holds a value, and every node of the ring has to tell it. Three local
convolutions see three nodes to either side; with one LatentGNN among them they see the ring. A mean
over the ring would carry one value as well: what is shown is that something has to.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SAGEConv, Sequential

from latentgraph.nn import LatentGNN

VALUES, CHANNELS = 5, 32


def ring(num_nodes: int) -> Data:
    node = torch.arange(num_nodes)
    edge_index = torch.stack([torch.cat([node, node.roll(1)]), torch.cat([node.roll(1), node])])
    holder, value = torch.randint(num_nodes, ()), torch.randint(VALUES, ())
    x = (node == holder).view(-1, 1) * one_hot(value, VALUES).float()
    return Data(x=x, edge_index=edge_index, y=value.expand(num_nodes))


def rings(num_graphs: int) -> Batch:
    return Batch.from_data_list([ring(n) for n in torch.randint(29, 61, (num_graphs,)).tolist()])


def network(context: nn.Module | None) -> nn.Module:
    return Sequential(
        "x, edge_index, batch",
        [
            (SAGEConv(VALUES, CHANNELS), "x, edge_index -> x"),
            nn.ReLU(),
            (SAGEConv(CHANNELS, CHANNELS), "x, edge_index -> x"),
            nn.ReLU(),
            *([(context, "x, batch -> x")] if context else []),
            (SAGEConv(CHANNELS, CHANNELS), "x, edge_index -> x"),
            nn.ReLU(),
            nn.Linear(CHANNELS, VALUES),
        ],
    )


def accuracy_after_training(context: nn.Module | None, steps: int) -> float:
    model = network(context)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        data = rings(32)
        optimizer.zero_grad()
        cross_entropy(model(data.x, data.edge_index, data.batch), data.y).backward()
        optimizer.step()
    data = rings(200)
    with torch.no_grad():
        answer = model(data.x, data.edge_index, data.batch).argmax(1)
    return (answer == data.y).double().mean().item()


def main(steps: int = 150) -> tuple[float, float]:
    torch.manual_seed(0)
    local = accuracy_after_training(None, steps)
    context = accuracy_after_training(LatentGNN(CHANNELS, latent_dims=(16,)), steps)
    print("right answers on new rings")
    print(f"  guessing                  {1 / VALUES:6.1%}")
    print(f"  local convolutions        {local:6.1%}")
    print(f"  the same with LatentGNN   {context:6.1%}")
    return local, context


if __name__ == "__main__":
    main()
