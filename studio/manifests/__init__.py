"""The Kubernetes manifests: what of them is computed from the contracts, and what must hold of all of them."""
