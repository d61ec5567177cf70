"""The gRPC handlers of svc_generation: the users' service, the watch streams, and the workers' service."""
