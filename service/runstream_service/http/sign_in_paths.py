"""Paths of the pages where people sign in."""

from __future__ import annotations

SIGN_IN = "/signin"
SIGN_OUT = "/signout"
CHOOSE_WORKSPACE = "/signin/workspace"

SIGN_IN_PATHS = frozenset((SIGN_IN, SIGN_OUT, CHOOSE_WORKSPACE))
