"""From a specification to pixels: the only room that knows torch. Imported by training and bench as a package.

`interface` has the values and the protocol; it imports no torch.
"""
