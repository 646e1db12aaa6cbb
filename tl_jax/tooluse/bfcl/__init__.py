"""BFCL v4, the Berkeley Function Calling Leaderboard: its categories, its data, its rules and its scores.

Written after what the package `bfcl-eval` (https://pypi.org/project/bfcl-eval, Apache-2.0) does; its data and its
classes of tools are used from where it is installed, and nothing of it is copied. docs/bfcl.md tells how to install it.
"""
