"""`python -m ecjax …`."""

from ecjax.cli import run

if __name__ == "__main__":
    run()
