"""`python -m fanscribe_orchestrator`: run an orchestrator worker until the platform stops it."""

from fanscribe_orchestrator.worker import serve

if __name__ == "__main__":
    serve()
