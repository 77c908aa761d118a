"""What `multi_task` is made of: settings, data, models, comparison."""
