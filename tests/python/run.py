"""Runs the tests of this directory and prints one JSON line for each: {"name", "state": "passed"|"failed"|"skipped", "detail"}."""
import json
import pathlib
import sys
import unittest


class Reporter(unittest.TestResult):
    """Tells the results as they come; a subtest that fails fails its test."""

    def startTest(self, test):
        super().startTest(test)
        self.problems = []

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.problems.append(f"{subtest}\n{self._exc_info_to_string(err, test)}")

    def addFailure(self, test, err):
        self.problems.append(self._exc_info_to_string(err, test))

    addError = addFailure

    def addSkip(self, test, reason):
        self.tell(test, "skipped", reason)

    def addSuccess(self, test):
        pass

    def stopTest(self, test):
        super().stopTest(test)
        self.tell(test, "failed" if self.problems else "passed", "\n".join(self.problems))

    @staticmethod
    def tell(test, state, detail):
        name = f"{type(test).__name__}: {test._testMethodName.removeprefix('test_').replace('_', ' ')}"
        print(json.dumps({"name": name, "state": state, "detail": detail}), flush=True)


def main():
    here = str(pathlib.Path(__file__).parent)
    sys.path.insert(0, here)
    unittest.defaultTestLoader.discover(here, top_level_dir=here).run(Reporter())


main()
