"""The handlers of payment's two services, and the conversion between messages and values."""
