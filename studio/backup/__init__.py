"""Backups of a whole deployment: taken while it runs, kept encrypted in a folder or bucket, restored into an empty stack.

    cli > restoring | taking > snapshots > sealing

`repository` is what all of them write to and read from. What a backup holds and how it is laid out is told in
docs/recovery.md.
"""
