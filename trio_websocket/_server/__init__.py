"""Everything that accepts."""
