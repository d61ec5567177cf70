"""Messages to rows and values and back. No I/O but signing the addresses of pictures."""
