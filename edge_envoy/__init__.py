"""The edge: what Envoy must know about the contracts, computed from them and rendered into its configuration."""
