"""Parts of the recipe `tune`."""
