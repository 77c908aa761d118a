"""The tasks of `recipes.text_tasks`, a file each."""
