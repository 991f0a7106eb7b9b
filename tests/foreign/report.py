"""What a script here finds out, one line a check."""


class Report:
    """Prints one line a check and counts them."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, name: str, passed: bool, found: object = "") -> None:
        if passed:
            self.passed += 1
            print(f"  ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"  FAILED  {name}\n{found}", flush=True)

    def end(self) -> int:
        """Prints the counts; the exit status of the script."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
