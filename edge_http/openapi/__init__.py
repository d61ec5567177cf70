"""The OpenAPI document, computed from the descriptors of the routes; `python proto/generate.py` writes it."""
