import pytest
import torch
from networks import IDENTITY
from torch import nn
from torch_geometric.nn import BatchNorm, GATConv, GCNConv, GINConv, GraphNorm

from latentgraph.plug import insert
from latentgraph.plug.layers import channels_inside, layout_inside


class LanguageRMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(11))


class FrozenBatchNorm2d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(11))


@pytest.mark.parametrize(
    ("module", "channels", "layout"),
    [
        (nn.Conv1d(3, 11, 1), 11, "grid"),
        (nn.ConvTranspose3d(3, 11, 1), 11, "grid"),
        (nn.BatchNorm2d(11), 11, "grid"),
        (nn.SyncBatchNorm(11), 11, "grid"),
        (nn.GroupNorm(1, 11), 11, "grid"),
        (FrozenBatchNorm2d(), 11, "grid"),
        (nn.Linear(3, 11), 11, "tokens"),
        (nn.LayerNorm(11), 11, "tokens"),
        (nn.RMSNorm(11), 11, "tokens"),
        (nn.Embedding(3, 11), 11, "tokens"),
        (LanguageRMSNorm(), 11, "tokens"),
        (GCNConv(3, 11), 11, "nodes"),
        (GATConv(3, 11, heads=2), 22, "nodes"),
        (GATConv(3, 11, heads=2, concat=False), 11, "nodes"),
        (GINConv(nn.Sequential(nn.Linear(3, 11), nn.ReLU())), 11, "nodes"),
        (GraphNorm(11), 11, "nodes"),
        (BatchNorm(11), 11, "nodes"),
        (nn.Sequential(nn.Conv2d(3, 7, 1), nn.Sequential(nn.Conv2d(7, 11, 1))), 11, "grid"),
        (nn.Sequential(nn.Conv2d(3, 7, 1), nn.Flatten(), nn.Linear(7, 11)), 11, None),
        (nn.Sequential(GCNConv(3, 7), nn.Linear(7, 11)), 11, "nodes"),
        (nn.LayerNorm((5, 11)), None, "tokens"),
        (nn.ReLU(), None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)  # fmt: skip
def test_types_tell_channels_and_layout(module, channels, layout) -> None:
    assert channels_inside(module) == channels
    assert layout_inside(module) == layout


def test_blocks_that_were_inserted_tell_nothing() -> None:
    module = nn.Sequential(nn.Conv2d(3, 11, 1), nn.ReLU())
    insert(module, "0", lambda channels: IDENTITY(channels))
    assert channels_inside(module) == 11
    assert layout_inside(module) == "grid"
