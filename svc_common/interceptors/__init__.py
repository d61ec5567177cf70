"""What happens between the wire and every handler. The order is `chain.INTERCEPTORS`; each layer has a module of its own."""
