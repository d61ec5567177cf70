"""What payment keeps in PostgreSQL, and how it is read and moved."""
