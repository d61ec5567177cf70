"""What payment's handlers and sweeps both do: apply what providers report, sell, and say what an account may do."""
