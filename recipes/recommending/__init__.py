"""What `recommendation` is made of: settings, items and histories, tests."""
