"""The API of runstream's own page: JSON, charts as binary arrays, and events as they happen. docs/web-api.md has all of
it.

`routes.py` is the table; `calls.py` and `endpoints.py` make it routes; `request.py` reads messages, `errors.py` and
`binary.py` write answers. Handlers are in the file of their area; their work is done in `core/` and `query/`.
"""
