"""Paths of the pages where people sign in."""

from __future__ import annotations

SIGN_IN = "/signin"
SIGN_OUT = "/signout"
CHOOSE_WORKSPACE = "/signin/workspace"
OIDC_BEGIN = "/signin/oidc"
OIDC_CALLBACK = "/signin/oidc/callback"

# The page for `runstream login`, which needs a session like any other, and what the command itself calls.
COMMAND_LINE = "/signin/command-line"
COMMAND_LINE_TOKEN = "/signin/command-line/token"  # noqa: S105 - a path

SIGN_IN_PATHS = frozenset((SIGN_IN, SIGN_OUT, CHOOSE_WORKSPACE, OIDC_BEGIN, OIDC_CALLBACK))
