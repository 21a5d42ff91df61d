#!/usr/bin/env python3
"""Compares what a consumer made of a report with what was run.

    read_reports.py CONSUMER RESULTS.json FILE

FILE is the report itself, or what the consumer wrote of it. Names, order and results must agree.
"""

import ast
import json
import os
import re
import sys
import xml.etree.ElementTree as ElementTree


def results(path):
    """The cases of the run, in the order of its plan: (name, kind)."""
    kinds = {}
    for line in open(path, encoding="utf-8"):
        event = json.loads(line)
        if event.get("event") == "run_started":
            plan = [case["name"] for case in event["plan"]]
        elif event.get("event") == "case_finished":
            outcome = event["outcome"]["outcome"]
            status = event["verdict"]["status"]
            kinds[plan[event["index"]]] = status if outcome == "as_judged" else outcome
    return [(name, kinds[name]) for name in plan]


def prove_junit(path):
    """TAP::Formatter::JUnit: "3 - name", a failure for what is not ok; TODO and SKIP are passes to it."""
    cases = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("name").partition(" - ")[2]
        if case.get("name").startswith("("):
            continue  # its own set-up and teardown
        good = case.find("failure") is None and case.find("error") is None
        cases.append((name, "good" if good else "bad"))
    return cases


def tap_py(path):
    from tap.parser import Parser

    words = []
    for line in Parser().parse_file(path):
        if line.category == "test":
            good = line.ok or line.todo
            word = "skip" if line.skip else "todo" if line.todo else "good" if good else "bad"
            words.append((line.description.removeprefix("- "), word))
    return words


def tap_parser(path):
    """The events of node-tap's parser: subtests are lists of their own."""
    cases = []

    def walk(events):
        for event in events:
            if event[0] == "child":
                for inner in event[1]:
                    if inner[0] == "assert":
                        one = inner[1]
                        directive = "skip" if one.get("skip") else "todo" if one.get("todo") else None
                        cases.append((one["name"], directive or ("good" if one["ok"] else "bad")))

    walk(json.load(open(path, encoding="utf-8")))
    return cases


def kunit(path):
    words = {"PASS": "good", "SKIP": "skip", "FAIL": "bad", "ERROR": "bad"}
    return [(case["name"], words[case["status"]]) for case in json.load(open(path))["test_cases"]]


def junit(path):
    cases = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        children = {child.tag: child for child in case}
        skipped = children.get("skipped")
        if skipped is not None:
            word = "todo" if skipped.get("type") == "known kernel bug" else "skip"
        elif "error" in children:
            word = "broken"
        else:
            word = "bad" if "failure" in children else "good"
        cases.append((case.get("name"), word))
    return cases


def kcidb(path):
    from kcidb_io import schema

    report = json.load(open(path))
    schema.V5_3.validate(report)
    schema.V5_3.validate_exactly(report)
    return [
        (test["path"].removeprefix("unshare."), test["status"] + (" known" if "known_bug" in test["misc"] else ""))
        for test in report["tests"]
    ]


def lava(path):
    """With the dispatcher's own pattern and function, taken from its source: the whole of it needs a lab."""
    source = os.environ["LAVA_DISPATCHER"] + "/usr/lib/python3/dist-packages/lava_dispatcher/actions/test/shell.py"
    source = open(source, encoding="utf-8").read()
    pattern = re.search(r'"signal": r"(.*)",', source).group(1)
    scope = {"JobError": RuntimeError}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "handle_testcase":
            node.decorator_list = []
            exec(compile(ast.Module([node], []), "shell.py", "exec"), scope)
    cases = []
    for name, parameters in re.findall(pattern, open(path, encoding="utf-8").read()):
        assert name == "TESTCASE", name
        data = scope["handle_testcase"](parameters.split())
        float(data["measurement"])
        cases.append((data["test_case_id"], data["result"]))
    return cases


def schema(path):
    import jsonschema

    text = open("harness/schema/results-1.schema.json", encoding="utf-8").read()
    validator = jsonschema.Draft202012Validator(json.loads(text))
    for line in open(path, encoding="utf-8"):
        validator.validate(json.loads(line))
    return results(path)


def table(**words):
    """What becomes of each kind; all that is not named is bad."""
    return lambda kind: words.get(kind, words.get("other", "bad"))


PLAIN = table(**{"pass": "good"}, skip="skip", known_bug="todo")
CONSUMERS = {
    "prove-junit": (prove_junit, table(**{"pass": "good"}, skip="good", known_bug="good")),
    "tap.py": (tap_py, PLAIN),
    "tap-parser": (tap_parser, PLAIN),
    "kunit": (kunit, table(**{"pass": "good"}, skip="skip", known_bug="good")),
    "junit": (junit, table(**{"pass": "good"}, skip="skip", known_bug="todo", broken="broken")),
    "kcidb": (
        kcidb,
        table(**{"pass": "PASS"}, skip="SKIP", known_bug="PASS known", timed_out="ERROR", broken="ERROR", other="FAIL"),
    ),
    "lava": (lava, table(**{"pass": "pass"}, skip="skip", known_bug="pass", broken="unknown", other="fail")),
    "json": (schema, lambda kind: kind),
}


def groups(cases):
    """Each group as tap14 sums it up."""
    summed = {}
    for name, kind in cases:
        summed.setdefault(name.split(".")[0], []).append(PLAIN(kind))
    return [
        (group, "skip" if set(words) == {"skip"} else "bad" if "bad" in words else "good")
        for group, words in summed.items()
    ]


def main():
    consumer, run, path = sys.argv[1:]
    cases = results(run)
    if consumer == "tap.py-groups":
        expected, read = groups(cases), tap_py(path)
    else:
        reader, word = CONSUMERS[consumer]
        expected, read = [(name, word(kind)) for name, kind in cases], reader(path)
    if read != expected:
        for ours, theirs in zip(expected, read):
            if ours != theirs:
                sys.exit(f"{consumer}: {ours} was read as {theirs}")
        sys.exit(f"{consumer}: {len(expected)} results, of which {len(read)} were read")
    counts = {}
    for _, word in read:
        counts[word] = counts.get(word, 0) + 1
    print(f"    {consumer}: {len(read)} read back, " + ", ".join(f"{n} {w}" for w, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
