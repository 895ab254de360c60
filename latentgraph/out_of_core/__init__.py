r"""Graphs larger than memory: the two passes over chunks that are loaded one after the other."""

from latentgraph.out_of_core.stream_chunks import stream_chunks

__all__ = ["stream_chunks"]
