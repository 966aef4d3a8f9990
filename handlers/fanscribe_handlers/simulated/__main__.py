"""Start a simulated worker: `python -m fanscribe_handlers.simulated`."""

from fanscribe_handlers.simulated.engine import SimulatedEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(SimulatedEngine, "simulated")
