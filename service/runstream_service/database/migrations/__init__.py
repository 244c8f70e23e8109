"""Ordered SQL files; each is applied once, in one transaction. What they install by name: functions/, views/."""
