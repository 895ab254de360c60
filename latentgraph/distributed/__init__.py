r"""Graphs whose nodes lie on several processes."""

from latentgraph.distributed.gradients import sum_gradients
from latentgraph.distributed.sharded_nodes import sharded_nodes
from latentgraph.functional.shards import sum_over_shards

__all__ = ["sharded_nodes", "sum_gradients", "sum_over_shards"]
