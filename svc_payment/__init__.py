"""Credits and tiers: what each account may spend, what it holds, what it may do, and a journal of every movement."""
