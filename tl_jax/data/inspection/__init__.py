"""One trajectory as the model is trained on it, and how it is shown."""

from tl_jax.data.inspection.console import to_terminal
from tl_jax.data.inspection.html import to_html
from tl_jax.data.inspection.inspect import inspect_trajectory

__all__ = ["inspect_trajectory", "to_html", "to_terminal"]
