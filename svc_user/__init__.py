"""Owns people: their addresses, passwords, profiles and sessions, and the keys that sign access tokens.

It never decides what somebody may do: tiers and credits belong to svc_payment and are looked up there at each call.
"""
