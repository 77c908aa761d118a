"""What data directories are built from: one file for each kind of source."""
