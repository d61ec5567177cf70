"""The tables of the schema `gallery` and the statements on them."""
