"""Settings and variants of `recipes.contrastive`."""
