r"""Blocks put into networks that exist."""

from latentgraph.plug.context import Context
from latentgraph.plug.insert import Inserted, insert

__all__ = ["Context", "Inserted", "insert"]
