"""A Runpod on one machine: queue, worker protocol, scaling and memory over loopback, for any worker.

The state of the platform (jobs, workers, memory, scaling) is plain data with a clock passed in and no I/O:
`job`, `queue`, `worker`, `endpoint`, `memory`, `scaler`, `fleet`. Around it lies a thin asyncio edge:
`platform` (held polls, control loop), `launcher` (processes), the routes and `server`.
`management` is the API by which endpoints come, change and go, over `images`: which command stands for which image.
Others start and find a platform with `process`, which imports neither the server nor its libraries.
"""
