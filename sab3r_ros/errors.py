"""Errors that a user can act on. Each message says what is wrong and what to do about it."""


class Sab3rError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(Sab3rError, ValueError):
    """A parameter has an unknown name or a value outside its range."""


class ImageError(Sab3rError, ValueError):
    """An image cannot be used: wrong shape, type, encoding, size zero or not finite."""


class CheckpointError(Sab3rError, RuntimeError):
    """A checkpoint is missing, corrupt, foreign or unsafe."""


class MapFileError(Sab3rError, RuntimeError):
    """A map file cannot be read or written, or belongs to another model."""


class QueryError(Sab3rError, ValueError):
    """A query cannot be answered: empty, too long, or asked of an empty map."""
