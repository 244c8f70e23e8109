"""Writes the points of runs to files, through the service's own reads."""
