"""What happens to jobs beside the calls: closing them, and the sweeps that repair what a crash or a loss left behind."""
