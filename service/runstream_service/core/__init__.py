"""What both front ends call: who asks, what can go wrong, runs and experiments."""
