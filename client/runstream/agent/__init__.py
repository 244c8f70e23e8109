"""The agent: a process of its own that sends the journals of a directory to the service.

    launch    starts one from a training process, without waiting for it
    process   the process itself: the only one by a lock; it polls the bell, and ends when it is idle
    status    agent.json, and what `runstream agent status` shows with or without an agent
    sync      sends the journals of a directory, a single journal, or a copy of one, and then ends
    console   the commands without click: python -m runstream.agent
    imports   makes the imports of that process cheaper

Only the standard library is imported until a process has become the agent.
"""
