"""What svc_models does beside its calls: filling the catalogue, and putting together and deleting accounts' own LoRAs."""
