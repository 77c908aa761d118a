"""What `recipes.active_learning` is made of."""
