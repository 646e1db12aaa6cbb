"""The base of every error that is the user's to mend: bad data, configuration, model directory."""


class UserError(ValueError):
    """``str(error)`` is one clear line; the command line prints it and exits with 2."""
