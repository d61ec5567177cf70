"""Limits that hold across processes: token buckets, backoff after failures, and leases of open streams.

Redis keeps the counts so that all processes share them, and may lose them at any moment. While it is away each process
counts by itself: a limit is then looser, and no call fails because of it.
"""
