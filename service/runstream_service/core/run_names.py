"""Generates names for runs that are created without one."""

from __future__ import annotations

import random

_ADJECTIVES = """
agile amber azure bold brave breezy bright brisk calm candid clever cosmic crisp curious deft eager early fair fleet
fresh gentle glad golden grand happy hardy honest humble jolly keen kind lively lucid lucky mellow merry mighty neat
nimble noble patient placid plucky polite proud quick quiet rapid ready robust serene sharp silent silver sincere
sleek smooth snappy solid spry steady stout sunny swift tidy tranquil upbeat vivid warm wise witty zesty
"""
_NOUNS = """
acorn alder badger basin beacon birch bison brook canyon cedar comet coral crane creek delta dune eagle ember falcon
fern finch fjord forest fox garnet geyser glacier harbor hawk heron island jay juniper lagoon lark lynx maple marlin
meadow meteor moose nebula oak orca osprey otter owl panda pebble pine planet plover puffin quartz raven reef ridge
river robin salmon seal sparrow spruce summit swan thicket tiger tundra valley walrus willow wolf wren
"""
ADJECTIVES, NOUNS = _ADJECTIVES.split(), _NOUNS.split()


def generate_run_name() -> str:
    """A name such as `swift-otter-417`, for people to read. Names may repeat, so they do not identify a run."""
    return f"{random.choice(ADJECTIVES)}-{random.choice(NOUNS)}-{random.randrange(1_000)}"
