"""The tables of the schema `models` and the statements on them."""
