"""What pictures tell of how they were made, by our own programs and by others.

Owns the readings of each program's notes and their translation into our terms. Finding the notes in a file is left to
`svc_common.picture_notes`, and what exists on this platform, such as models, to the servicer. Everything here comes from
files of strangers: it is bounded, and each value is checked as if a caller had sent it.
"""
