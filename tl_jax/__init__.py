"""TL-Training in JAX: teach Llama-family models to call tools.

Importing the package does nothing else: no devices are touched, no environment variable is set.
"""

__version__ = "0.1.0"
