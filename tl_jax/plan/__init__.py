"""What a configuration needs on a machine, by XLA's own compilers for it; the machine itself is not needed."""
