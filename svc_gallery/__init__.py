"""The gallery: the pictures of every account, whose bytes lie in the object store."""
