r"""Non-local context as message passing between many visible nodes and a few latent ones."""

__version__ = "0.1.0"
