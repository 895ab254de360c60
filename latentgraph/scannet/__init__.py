r"""ScanNet: its labels and splits, and generated rooms in its raw layout."""
