"""The model catalogue: which models there are, what they cost, and which tier reaches them."""
