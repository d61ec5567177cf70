"""Job events over WebSocket and Socket.IO, for programs that keep one socket open."""
