"""Everything that dials."""
