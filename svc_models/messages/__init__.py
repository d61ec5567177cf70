"""Messages to rows and values and back."""
