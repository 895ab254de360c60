r"""What the library is measured against; not part of the package."""
