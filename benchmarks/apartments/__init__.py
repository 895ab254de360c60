r"""Context that differs from room to room: ``make apartments``."""
