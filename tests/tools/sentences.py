"""The runner of the Python tests: each is a function whose name is a sentence, run in the order of the file."""

import sys
import traceback

tests = []


def test(function):
    """Registers a test; its name is read as a sentence."""
    tests.append((function.__name__.replace("_", " "), function))
    return function


def run_all():
    """Runs every test, whatever fails before it, and ends the process with the closing line that CI reads."""
    failed = 0
    for name, function in tests:
        try:
            function()
            print(f"ok      {name}", flush=True)
        except Exception as error:
            failed += 1
            told = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
            print(f"FAILED  {name}\n{told}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
