"""The pure rules of the gallery: where objects lie, how far addresses and lists reach, and what a source may be."""
