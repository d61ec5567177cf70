"""Files of checkpoints as people publish them: whether all of a model is in them, at which scale, and how it is sampled.

Reads headers and configurations only, and no torch, so that an operator's push tells what a worker would. Computing with
the tensors is left to `families.loading`.
"""
