"""What recipes show of their small and fast variants."""
