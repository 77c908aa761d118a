"""Pretrained writers, as recipes take them."""
