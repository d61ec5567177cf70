"""Keeps users, sessions and refresh tokens in PostgreSQL, schema `users`."""
