"""Settings of `recipes.video_text`."""
