"""Generated from proto/runstream/v1 by `make gen`; never edited."""
