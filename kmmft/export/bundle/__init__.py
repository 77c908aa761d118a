"""What stands beside an exported model, each kind of file made by its own module."""
