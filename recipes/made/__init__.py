"""Records that recipes make themselves."""
