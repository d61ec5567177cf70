"""The suite over the running fleet: what the platform promises to the people who call it, with and without accidents."""
