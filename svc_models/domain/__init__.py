"""The rules of the catalogue: what a manifest must say, and who reaches a model."""
