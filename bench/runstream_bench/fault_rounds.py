"""The rounds of `runstream bench --faults`. The command line needs their names before it imports anything large."""

ROUNDS = {
    "rolling": "3 replicas restarted, one by one",
    "stopped": "PostgreSQL stopped",
    "slowed": "PostgreSQL slowed ten times",
    "killed": "PostgreSQL killed with -9",
    "cut_off": "1 of 2 replicas cut off from PostgreSQL",
}
