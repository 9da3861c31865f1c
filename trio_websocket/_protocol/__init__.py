"""The protocol below the Trio line: bytes in, events and bytes out."""
