"""Turns requests for pictures into jobs, and carries each job to exactly one end.

It owns jobs, their attempts and their order of events, and it is the only one that decides what becomes of a job. It
prices a job but never moves credits itself (svc_payment does), and it never touches a GPU (gpu_worker does).
"""
