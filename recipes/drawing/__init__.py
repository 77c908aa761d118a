"""What `text_to_image` is made of: settings, data, training, testing."""
