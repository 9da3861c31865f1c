"""One open WebSocket over any Trio stream."""
