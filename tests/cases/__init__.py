"""What people reported of this kind of product, tried on ours: each case has real input and a right value of its own.

The right value is computed here, by other means than the product's: weights merged by hand, colours converted by
another library, a browser's own reading. `python -m tests.cases` runs these files alone.
"""
