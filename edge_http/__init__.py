"""The HTTP bridge: every JSON route of the contracts as a call by gRPC, and streams as resumable server-sent events."""
