"""Reads points: histories, latest values, charts, aggregates, searches, live tail."""
