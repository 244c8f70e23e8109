"""Kills, cut networks and outages, with real processes and fsync on."""
