"""What handlers and sweeps both do with jobs: plan, accept, cancel, finalize, announce. Opens transactions."""
