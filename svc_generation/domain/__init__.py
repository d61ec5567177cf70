"""The pure rules of jobs: states, attempts, prices, limits, waiting times and event ids. No I/O, clock or randomness."""
