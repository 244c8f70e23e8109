"""Ordered SQL files; each is applied once, in one transaction."""
