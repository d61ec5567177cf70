"""Benchmarks: each measures a ratio to a peer or a limit, side by side in one run. `python -m bench` runs them all."""

import os

from studio.stack.fleet import GRPC_EXPERIMENTS

# The load generators poll as the services do (docs/adr/0014): gRPC reads it when it is loaded, and what is measured is the
# platform, not the threads of its caller.
os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
