r"""That ranks send what the formulas say, and no more of it for more nodes."""

import sys

import pytest
import torch
from counting import count_all
from ranks import on_ranks
from samples import BLOCKS, randomized
from torch import nn

from benchmarks.sharded_cost import Message, messages
from latentgraph.nn import LatentGNN, NonLocal

FEW, MANY = (11, 0, 5, 3, 23), (211, 0, 103, 61, 401)
ONCE = ("all_gather", 8)  # the number of graphs
# Beside what it is asked to send, gloo fills up parts, and tells of each how long it is and who is
# ready for it, the more often the later others are. That is little beside what MANY nodes have.
BESIDE, HEADERS = 0.02, 500


def made() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    blocks = {name: make(23) for name, make in BLOCKS.items()}
    blocks |= {
        f"{mode}, {norm}": LatentGNN(29, (7, 3), 2, mode, norm, graph_conv=True)
        for mode in ("asymmetric", "symmetric")
        for norm in ("batch_norm", None)
    }
    blocks["large"] = LatentGNN(512, (256,), 2)
    return {name: randomized(block, torch.float32) for name, block in blocks.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a connection has sent")
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_bytes_are_those_of_the_formulas_however_many_nodes(num_ranks) -> None:
    blocks = made()
    ranks = on_ranks(count_all, num_ranks, blocks, FEW, MANY)
    for name, block in blocks.items():
        expected = messages(block, len(FEW))
        for few, many in (rank[name] for rank in ranks):
            assert few[:2] == many[:2]
            assert sorted(few.forward) == sorted([ONCE, *expected.forward]), name
            assert sorted(few.backward) == sorted(expected.backward), name
        everything = [Message(*ONCE), *expected.forward, *expected.backward]
        formula = num_ranks * sum(message.sent(num_ranks) for message in everything)
        beside = BESIDE * formula + HEADERS * num_ranks**2 * len(everything)
        for i in (0, 1):
            assert formula <= sum(rank[name][i].tcp for rank in ranks) <= formula + beside, name


def test_one_exchange_of_a_block_each_way() -> None:
    for block in made().values():
        forward, backward = messages(block.eval())
        assert len(forward) == len(backward) == 1


def test_formulas_written_out() -> None:
    block = LatentGNN(64, (32, 16), 4)
    assert messages(block, 3).forward == [Message("all_reduce", 3 * (32 + 16) * (16 + 1) * 4)]
    assert Message("all_reduce", 1_000).sent(4) == 1_500
    assert Message("all_gather", 1_000).sent(4) == 3_000
    with pytest.raises(TypeError, match="expected LatentGNN or a block of one node, got NonLocal"):
        messages(NonLocal(8))
