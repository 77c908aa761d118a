"""What the recipes that compare methods share."""
