"""What a user did wrong, said once and without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in a file, a folder or a parameter that the user can mend.

    The message is one sentence or two: which file (or parameter), what is wrong with it, what to do.
    Command lines print it and exit with status 2; a notebook shows the message alone, because IPython
    asks an exception for `_render_traceback_` before it prints a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
