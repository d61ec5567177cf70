"""Delivers webhooks: takes due deliveries, sends them where they may go, and records what became of them."""
