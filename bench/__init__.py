"""Benchmarks: each measures a ratio to a peer or a limit, side by side in one run. `python -m bench` runs them all."""
