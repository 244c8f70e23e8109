"""The agent: a process of its own that brings the journals of a directory to the service.

    launch    starts one from a training process, without waiting for it
    process   the process itself: alone by a lock, polls the bell, ends when it is idle
    status    agent.json, and what `runstream agent status` shows with or without an agent
    sync      sends the journals of a directory, of a single journal, or of a copy, and then ends
    console   the plain commands: python -m runstream.agent

Only the standard library is imported until a process has become the agent.
"""
