"""Settings, data and comparisons of `recipes.multimodal_classification`."""
