"""The core that both front ends call: callers, errors, runs, experiments and models."""
