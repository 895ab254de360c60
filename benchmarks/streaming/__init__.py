r"""Time and memory of the blocks beside their peers: ``python -m benchmarks.streaming``."""
