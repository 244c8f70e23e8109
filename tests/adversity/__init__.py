"""What must be survived: kills, cuts, outages. Real processes, fsync on."""
