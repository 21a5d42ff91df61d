#!/usr/bin/env python3
"""Writes docs/architectures.md, on standard output, from the results of `ci/architectures --whole DIRECTORY`.

    architectures.py DIRECTORY
"""

import collections
import json
import os
import sys

HEAD = """\
# Other architectures

Whoever registers unshare(2) for an architecture has to get several things right: its number, the width of its argument,
the way its result comes back, and the layout of every structure that the kernel and a program exchange about it (2006
document, 7.4). The same cases show that on each of them: the program, built for the architecture, is the init of a
guest with Debian's kernel, which QEMU emulates.

What differs between architectures is in one room of the source, `harness/src/abi`; `suite/tests/portable.rs` proves
that no other file of harness and suite asks for the architecture or makes a call that some lack.

`ci/cross ARCHITECTURE` builds the program, `ci/architectures --whole DIRECTORY` runs this and `ci/architectures
--document DIRECTORY` writes this page. Each run of `ci/test` compiles riscv64, runs a shard of the quick tier on arm64,
and on s390x the cases that its order of bytes could break.

## The quick tier

Times are of one run on a machine with two processors, emulated; "start and one case" is the same guest with a single
case.
"""

FAULTS = """
## Faults

Stand-ins for broken kernels (see [faults.md](faults.md)) work on every architecture: the filter traps the call, and the
handler reads and writes the registers that hold its argument and its result.
"""

ORDER = ["arm64", "riscv64", "s390x", "ppc64le", "i386"]


def results(path):
    """Facts of a run, and of each case its name, how it came out and why."""
    facts, plan, cases = {}, [], []
    for line in open(path, encoding="utf-8"):
        event = json.loads(line)
        if event.get("event") == "run_started":
            facts, plan = event["facts"], [case["name"] for case in event["plan"]]
        elif event.get("event") == "case_finished":
            outcome, verdict = event["outcome"]["outcome"], event["verdict"]
            status = verdict["status"] if outcome == "as_judged" else outcome
            cases.append((plan[event["index"]], status, verdict.get("reason", "")))
    return facts, cases


def seconds(path):
    """How long the run took, start of the guest included."""
    began, ended = map(float, open(path, encoding="utf-8").read().split())
    return ended - began


def main():
    directory = sys.argv[1]
    rows, sections = [], []
    for architecture in ORDER:
        base = os.path.join(directory, architecture)
        if not os.path.exists(base + "-quick.json"):
            continue
        facts, cases = results(base + "-quick.json")
        counts = collections.Counter(status for _, status, _ in cases)
        passed, skipped = counts.pop("pass", 0), counts.pop("skip", 0)
        known = counts.pop("known_bug", 0)
        # A documented bug that does not show here; it is named below.
        passed += counts.pop("unexpected_pass", 0)
        whole, start = seconds(base + "-quick.seconds"), seconds(base + "-start.seconds")
        yes = "yes" if cases else "no"
        rows.append(f"| {architecture} | {facts['release']} | {yes} | {yes} | {passed} | {known} | {sum(counts.values())} "
                    f"| {skipped} | {whole:.0f} s | {start:.1f} s | {whole / start:.0f} |")
        reasons = collections.Counter(reason for _, status, reason in cases if status == "skip")
        lines = [f"### {architecture}, {facts['release']}", "", "| cases | skipped, since |", "|---:|---|"]
        lines += [f"| {count} | {reason.replace('|', chr(92) + '|')} |" for reason, count in reasons.most_common()]
        other = [(name, status, reason) for name, status, reason in cases if status not in ("pass", "skip")]
        if other:
            lines += ["", "| neither passed nor skipped | how | why |", "|---|---|---|"]
            lines += [f"| `{name}` | {status.replace('_', ' ')} | {reason.replace('|', chr(92) + '|')} |" for name, status, reason in other]
        sections.append("\n".join(lines))
    print(HEAD)
    print("| architecture | Debian's kernel | builds | boots | passed | known bug | failed, broken, timed out | skipped "
          "| quick tier | start and one case | ratio |")
    print("|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows))
    print(FAULTS)
    print("| architecture | fault | cases that ran | cases that noticed it |\n|---|---|---:|---:|")
    for architecture in ORDER:
        for fault in sorted(os.listdir(directory)):
            if fault.startswith(f"{architecture}-fault-"):
                _, cases = results(os.path.join(directory, fault))
                ran = [status for _, status, _ in cases if status != "skip"]
                noticed = sum(status in ("fail", "timed_out") for status in ran)
                name = fault.split("-fault-")[1].removesuffix(".json")
                print(f"| {architecture} | `{name}` | {len(ran)} | {noticed} |")
    print("\n## Skips\n")
    print("\n\n".join(sections))


main()
