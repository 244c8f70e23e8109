"""Who the caller of a call is, and what it may do: from the credentials of a call to a Caller (core/caller.py).

How a call is authenticated:

    authenticator.py          the interface that the front ends call
    credentials.py            from the header Authorization to a token
    authenticator_router.py   chooses one of the following by the credentials
    anonymous.py              without authentication: everybody is the same caller
    token_authenticator.py    tokens that the service itself made
    session_authenticator.py  sessions of people who signed in with a browser
    jwt_authenticator.py      JWTs of an OpenID Connect provider or a Kubernetes cluster; jwt_claims.py checks them
    lookup_cache.py           keeps results of look-ups for a few seconds
    refused_calls.py          the calls that were refused, for the audit log

Identities from an external provider or cluster:

    identity_settings.py      whose tokens the service accepts
    external_identity.py      makes the objects that check them
    issuer.py, fetcher.py     the documents and public keys of an issuer, and how they are fetched
    oidc.py                   signing in at a provider; pending_sign_in.py has what the browser keeps meanwhile
    person_from_claims.py     from the claims of a JWT to a person
    grants.py                 which workspaces people may enter, by their groups

What people manage:

    access.py                 all of this, in one object for the front ends
    workspaces.py, workspace_limits.py  teams, and the limits of each
    tokens.py, token_text.py  tokens as they are stored, and what they look like
    sessions.py               sessions of people who signed in with a browser
    tracking_uris.py          URLs with a short-lived token in them, for MLflow's clients
    command_line.py           signing in the command line with the browser
    operator.py               the caller of commands that work on the database itself; it may do everything
"""
