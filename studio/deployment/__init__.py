"""What deployments in containers need beside the images: their secrets."""
