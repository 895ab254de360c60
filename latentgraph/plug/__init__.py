r"""Blocks put into networks that exist."""

from latentgraph.plug.context import Context
from latentgraph.plug.insert import insert
from latentgraph.plug.inserted import Inserted

__all__ = ["Context", "Inserted", "insert"]
