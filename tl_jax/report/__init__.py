"""The page of `tl-jax report`: what runs did and what came of them."""
