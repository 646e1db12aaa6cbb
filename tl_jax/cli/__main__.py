"""``python -m tl_jax.cli``."""

from tl_jax.cli import main

main(prog_name="tl-jax")
