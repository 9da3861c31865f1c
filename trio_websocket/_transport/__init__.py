"""Byte streams; nothing here knows of WebSocket."""
