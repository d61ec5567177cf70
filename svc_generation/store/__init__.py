"""Jobs, attempts and the accounts' counters in PostgreSQL. Functions take the session first and never commit."""
