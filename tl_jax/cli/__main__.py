"""``python -m tl_jax.cli``."""

import sys

from tl_jax.cli import main

sys.exit(main())
