"""Variants of the method against each other: which of MAE, PKT and IRM helps, by how much, and when."""
