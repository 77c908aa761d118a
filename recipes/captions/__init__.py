"""Settings, data, models and stages of `recipes.captioning`."""
