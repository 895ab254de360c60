r"""The tables of the slides that this library grew from, with models built and counted here."""
