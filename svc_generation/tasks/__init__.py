"""The sweeps: when what a crash or a loss left behind is repaired. How is in `usecases`."""
