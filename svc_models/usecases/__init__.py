"""What svc_models does for its handlers and in the background alike."""
