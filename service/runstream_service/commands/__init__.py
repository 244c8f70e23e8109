"""The subcommands of `runstream` that belong to the server. The client's `runstream.commands` lists them.

service.py    serve, demo
database.py   status, gc, distribute
importing.py  import
access.py     workspace, token, tracking-uri, audit; access_calls.py makes their calls
"""
