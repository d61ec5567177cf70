"""Messages to rows and values and back, and refusals in words. No I/O but signing the addresses of pictures."""
