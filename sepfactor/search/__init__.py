"""Which scheme at which rank for every layer."""
