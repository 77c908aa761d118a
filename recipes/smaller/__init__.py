"""What `recipes.distill` and `recipes.prune` are made of: settings, data, measuring."""
