"""Messages to rows and values and back, and refusals in words."""
