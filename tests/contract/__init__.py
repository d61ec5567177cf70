"""The suite over the contracts: what they promise, and that the edge in front of the services keeps it."""
