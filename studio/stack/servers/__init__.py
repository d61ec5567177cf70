"""One module for each server of the local stack that is not ours: its command, first-time set-up and health."""
