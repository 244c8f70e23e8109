"""The subcommands of `runstream` that belong to the server. The client's `runstream.commands` lists them."""
