"""What ci/atlas keeps in the repository: docs/atlas.json, the lists of runners/known-bugs.toml, and two pages of them."""

import collections
import html
import json
import lzma
import re
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
DATA, BUGS = TOP / "docs/atlas.json", TOP / "runners/known-bugs.toml"
PAGES = {"md": TOP / "docs/atlas.md", "html": TOP / "docs/atlas.html"}
WIDTH = 120

# What one CPU cannot show: with it alone, all namespaces get their IDs from one batch.
TWO_CPUS = ["separation.mnt.younger_namespace_file"]


def natural(text):
    """Debian's order of versions, as far as kernels need it: a tilde is before the end, numbers are numbers."""
    parts = re.findall(r"\d+|~|[^\d~]+", text)
    return [(0, 0, "") if part == "~" else (2, int(part), "") if part.isdigit() else (3, 0, part) for part in parts] + [(1, 0, "")]


def place(release):
    """Where a release stands; a candidate is before its release and behind all of the series before."""
    numbers = [int(number) for number in re.match(r"[\d.]+", release)[0].strip(".").split(".")] + [0, 0]
    major, minor, stable = numbers[:3]
    if re.search(r"[-~]rc\d", release):
        return (major, minor - 1, float("inf")) if minor else (major - 1, float("inf"), float("inf"))
    return (major, minor, stable)


def series(release):
    return ".".join(re.match(r"[\d.]+", release)[0].split(".")[:2])


class Kernel:
    """A kernel that was run, or could not be."""

    def __init__(self, facts, plan=(), failures=(), skips=()):
        # What was run: the plan of the quick tier, and what stands in `beyond`.
        self.quick, self.plan = frozenset(plan), frozenset(plan) | set(facts.get("beyond", ()))
        self.facts = facts
        # By case: what is kept of a failure, and why it was skipped.
        self.failures, self.skips = dict(failures), dict(skips)

    def __getattr__(self, name):
        return self.__dict__["facts"].get(name)

    def order(self):
        return (self.release.startswith("uml-"), natural(self.package), self.release)


class Atlas:
    """All kernels, by release."""

    def __init__(self, kernels=()):
        self.kernels = {kernel.release: kernel for kernel in kernels}

    def ordered(self):
        return sorted(self.kernels.values(), key=Kernel.order)

    def run(self):
        return [kernel for kernel in self.ordered() if not kernel.not_run]

    # --- As ci/atlas leaves it ------------------------------------------------------------------

    @staticmethod
    def of_results(directory):
        return Atlas(of_result(path) for path in Path(directory).glob("*.atlas.json"))

    # --- As it is kept --------------------------------------------------------------------------

    @staticmethod
    def kept():
        if not DATA.exists():
            return Atlas()
        data = json.loads(DATA.read_text(encoding="utf-8"))
        facts = {kernel["release"]: dict(kernel) for kernel in data["kernels"]}
        kernels = {release: Kernel(own, data["plans"].get(own.pop("plan", ""), ())) for release, own in facts.items()}
        for failure in data["failures"]:
            for release in failure["kernels"]:
                kept = {key: failure[key] for key in ("status", "requirements", "what")}
                kept["alone"] = "pass" if release in failure.get("passed_alone", ()) else None
                kernels[release].failures[failure["case"]] = kept
        for skip in data["skips"]:
            for release in skip["kernels"]:
                kernels[release].skips |= dict.fromkeys(skip["cases"], skip["reason"])
        return Atlas(kernels.values())

    def text(self):
        """The file, made so that a kernel more or less changes few lines."""
        plans, failures, skips = {}, {}, collections.defaultdict(lambda: collections.defaultdict(list))
        kernels = []
        for kernel in self.ordered():
            facts = dict(kernel.facts)
            if kernel.quick:
                facts["plan"] = next((name for name, plan in plans.items() if plan == kernel.quick), f"plan-{len(plans) + 1}")
                plans[facts["plan"]] = kernel.quick
            kernels.append(line(facts))
            for case, failure in kernel.failures.items():
                key = (case, failure["status"], tuple(failure["requirements"]))
                # What the newest kernel says of it.
                one = failures.setdefault(key, {"kernels": [], "passed_alone": []})
                one["what"] = failure["what"]
                one["kernels"].append(kernel.release)
                if failure["alone"] == "pass":
                    one["passed_alone"].append(kernel.release)
            by_reason = collections.defaultdict(list)
            for case, reason in kernel.skips.items():
                by_reason[reason].append(case)
            for reason, cases in by_reason.items():
                skips[reason][tuple(sorted(cases))].append(kernel.release)
        of_cases = lambda names: listed(sorted(names), lambda name: name.split(".")[0])
        of_kernels = lambda names: listed(names, series_of)
        blocks = [block(
            case=case, status=status, requirements=list(requirements), what=one["what"], kernels=of_kernels(one["kernels"]),
            **({"passed_alone": of_kernels(one["passed_alone"])} if one["passed_alone"] else {}))
            for (case, status, requirements), one in sorted(failures.items())]
        skipped = [block(reason=reason, cases=of_cases(cases), kernels=of_kernels(releases))
                   for reason, groups in sorted(skips.items()) for cases, releases in sorted(groups.items())]
        plan = [f"  {line(name)}: {of_cases(names)}" for name, names in plans.items()]
        return "{\n" + ",\n".join([
            ' "schema": 1', ' "kernels": [\n  ' + ",\n  ".join(kernels) + "\n ]",
            ' "failures": [\n' + ",\n".join(blocks) + "\n ]", ' "skips": [\n' + ",\n".join(skipped) + "\n ]",
            ' "plans": {\n' + ",\n".join(plan) + "\n }"]) + "\n}\n"


def of_result(path):
    """A kernel as ci/atlas leaves it."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if "not_run" in result:
        return Kernel({key: result[key] for key in ("release", "package", "flavour", "date", "not_run")})
    lost = [bad["what"] for bad in result["bad"] if bad["what"].startswith("not run: the guest ")]
    if lost:
        # Of most cases nothing is known.
        why = f"{lost[0].removeprefix('not run: ')}, with {len(lost)} cases still to run"
        return Kernel({key: result[key] for key in ("release", "package", "flavour", "date")} | {"not_run": why})
    report = lzma.decompress(path.with_name(path.name.replace(".atlas.json", ".results.json.xz")).read_bytes()).decode()
    started = next(event for event in map(json.loads, report.splitlines()) if event.get("event") == "run_started")
    quick = {case["name"] for case in started["plan"]} - set(TWO_CPUS)
    plan = quick | set(result["beyond"])
    failures = {
        bad["case"]: {"status": bad["status"], "requirements": bad["requirements"], "what": steady(bad["what"]), "alone": bad.get("alone")}
        for bad in result["bad"] if bad["status"] != "pass"}
    skips = {case: reason for reason, cases in result["skipped"].items() for case in cases if case not in failures}
    status = collections.Counter(failure["status"] for failure in failures.values())
    facts = {"release": result["release"], "package": result["package"], "linux": linux(result)}
    facts |= {key: result[key] for key in ("flavour", "architecture", "date", "program")}
    facts["passed"] = len(plan) - len(failures) - len(skips)
    facts |= {key: status[key] for key in ("fail", "timed_out", "broken") if status[key]} | {"skip": len(skips)}
    facts["beyond"] = sorted(result["beyond"])
    facts |= {"lost": result["lost"]} if "lost" in result else {}
    if result["given_up"]:
        facts["given_up"] = result["given_up"]
    return Kernel(facts, quick, failures, skips)


def linux(result):
    """The version of a kernel. Debian's release candidates say in the build alone which they are."""
    candidate = re.search(r"[-~](rc\d+)", result["release"] + " " + result["build"])
    major, minor, stable = result.get("version") or map(int, result["linux"].split("."))
    return f"{major}.{minor}-{candidate[1]}" if candidate else f"{major}.{minor}.{stable}"


def steady(what):
    """What a check said, without what is another number in each run."""
    return re.sub(r"(?<![\w.])\d{3,}(?![\w.])", "…", what)


def series_of(release):
    return re.match(r"\D*[\d]+\.[\d]+", release)[0]


def line(value):
    return json.dumps(value, ensure_ascii=False)


def listed(names, group):
    """A list with one line for each group of names."""
    lines, last = [], object()
    for name in names:
        if group(name) != last:
            lines.append([])
            last = group(name)
        lines[-1].append(line(name))
    return "[" + ",\n   ".join(", ".join(names) for names in lines) + "]"


def block(**fields):
    shown = lambda key, value: value if key in ("cases", "kernels", "passed_alone") and isinstance(value, str) else line(value)
    return "  {" + ",\n   ".join(f"{line(key)}: {shown(key, value)}" for key, value in fields.items()) + "}"


# --- Documented bugs ----------------------------------------------------------------------------


class Bug:
    """An entry of runners/known-bugs.toml."""

    def __init__(self, entry):
        self.entry = entry
        requirement = entry["requirement"]
        self.requirements = [requirement] if isinstance(requirement, str) else requirement
        self.cases, self.status = entry["cases"], entry.get("status", ["fail"])
        # A pass of these says nothing.
        self.by_chance = entry.get("by_chance", [])
        self.ranges = [tuple(map(tuple, ends)) for ends in entry["affected"]]

    @property
    def name(self):
        return ", ".join(self.requirements)

    @property
    def excuses(self):
        return bool(self.status)

    def affects(self, release):
        return any(first <= place(release) < beyond for first, beyond in self.ranges)

    def names(self, case):
        return any(case == name or name.endswith((".", "*")) and case.startswith(name.rstrip("*")) for name in self.cases)

    def explains(self, case, failure):
        """Whether this failure is what the entry is about. One that excuses nothing is about all requirements of its
        kind: the sweep cites others than the cases do."""
        kinds = {id.rsplit("-", 1)[0] for id in self.requirements}
        own = lambda id: id in self.requirements if self.excuses else id.rsplit("-", 1)[0] in kinds
        return (self.names(case) or case in self.by_chance) and (not self.status or failure["status"] in self.status) and any(
            map(own, failure["requirements"]))

    def on(self, kernel):
        """Whether a kernel has it; nothing if that was not seen."""
        cases = [case for case in kernel.plan if self.names(case)]
        if any(self.explains(case, kernel.failures[case]) for case in cases if case in kernel.failures):
            return True
        return False if any(case not in kernel.failures and case not in kernel.skips for case in cases) else None


def bugs():
    return [Bug(entry) for entry in tomllib.loads(BUGS.read_text(encoding="utf-8"))["expect"]]


def measured(bug, kernels):
    """The releases that have the bug, and those that do not."""
    seen = {True: set(), False: set(), None: set()}
    for kernel in kernels:
        seen[bug.on(kernel)].add(kernel.linux)
    return seen[True], seen[False]


def lists_brought_up_to_date(text, atlas):
    """The text of known-bugs.toml with the releases that were run. What else it lists stays."""
    head, *blocks = re.split(r"^(?=\[\[expect\]\])", text, flags=re.M)
    ran = atlas.run()
    for index, (bug, old) in enumerate(zip(bugs(), blocks)):
        seen = measured(bug, ran)
        decided = seen[0] | seen[1]
        new = ""
        for key, releases in zip(("measured_with", "measured_without"), seen):
            kept = {release for release in bug.entry.get(key, []) if release not in decided}
            names = sorted(kept | releases, key=lambda name: (place(name), natural(name)))
            new += wrapped(key, names)
        rest = re.sub(r"^measured_with(out)? = \[.*?\]\n", "", old, flags=re.M | re.S)
        blocks[index] = re.sub(r"^(affected = .*\n)", lambda found: found[1] + new, rest, flags=re.M)
    return head + "".join(blocks)


def wrapped(key, names):
    if not names:
        return ""
    whole = f"{key} = [{', '.join(map(line, names))}]"
    if len(whole) <= WIDTH:
        return whole + "\n"
    lines, last = [], ""
    for name in names:
        if len(last) + len(name) + 8 > WIDTH:
            lines.append(last)
            last = ""
        last += f" {line(name)},"
    return f"{key} = [\n" + "".join(f"   {one}\n" for one in lines + [last]) + "]\n"


# --- The check ----------------------------------------------------------------------------------


def disagreements(atlas, with_lists):
    """Sentences on what the list of documented bugs and the kernels say differently."""
    known, said = bugs(), []
    for kernel in atlas.run():
        for case, failure in kernel.failures.items():
            if failure["alone"] == "pass":
                continue
            if not any(bug.affects(kernel.linux) and bug.explains(case, failure) for bug in known):
                said.append(f"{kernel.release} ({kernel.linux}): {case}: {failure['status']} "
                            f"({', '.join(failure['requirements'])}), which no entry explains: {failure['what']}")
        for bug in known:
            if bug.on(kernel) is False and bug.affects(kernel.linux):
                said.append(f"{kernel.release}: {bug.name} ({bug.cases[0]}…) is listed for {kernel.linux}, and does not occur")
    for bug in known if with_lists else []:
        for key, releases, others in zip(("measured_with", "measured_without"), measured(bug, atlas.run()),
                                         reversed(measured(bug, atlas.run()))):
            listed_ = set(bug.entry.get(key, []))
            said += [f"{bug.name} ({bug.cases[0]}…): {key} lacks {release}" for release in sorted(releases - listed_, key=place)]
            said += [f"{bug.name} ({bug.cases[0]}…): {key} has {release}, which was run and is otherwise"
                     for release in sorted(listed_ & others - releases, key=place)]
    return said


def not_repeated(atlas):
    return [(kernel, case, failure) for kernel in atlas.run() for case, failure in kernel.failures.items()
            if failure["alone"] == "pass"]


# --- The pages ----------------------------------------------------------------------------------

CONFORMS, BUT_FOR, NOT = "conforms", "conforms but for known bugs", "does not conform"


def verdict(kernel, known):
    if not kernel.failures:
        return CONFORMS
    excused = lambda case, failure: any(
        bug.excuses and bug.affects(kernel.linux) and bug.explains(case, failure) for bug in known)
    return BUT_FOR if all(excused(*one) for one in kernel.failures.items()) else NOT


def by_series(kernels):
    groups = collections.defaultdict(list)
    for kernel in kernels:
        groups[("uml-" if kernel.release.startswith("uml-") else "") + series(kernel.linux or kernel.package)].append(kernel)
    return dict(sorted(groups.items(), key=lambda one: natural(one[0])))


def span(releases):
    ordered = sorted(set(releases), key=place)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} – {ordered[-1]}"


def bug_in_series(bug, kernels):
    """First and last bad release of a series, in a few words."""
    states = {kernel.linux: bug.on(kernel) for kernel in kernels}
    bad = [release for release, state in states.items() if state]
    if bad:
        good = [release for release, state in states.items() if state is False]
        return f"{span(bad)}" + ("" if good else " (all)")
    return "no" if False in states.values() else "·"


HEAD = """\
# Every kernel that can be had

`ci/atlas` runs the quick tier, and beyond it the cases of documented bugs, on every kernel that `unshare-conformance
kernels list` shows: Debian's kernels for virtual machines and user-mode Linux, in a guest. `ci/atlas --flavours` adds
the full and the PREEMPT_RT flavour of the newest of each series. What it saw is in [atlas.json](atlas.json); this page
and [atlas.html](atlas.html) are made of that by `ci/atlas --document`. `runners/known-bugs.toml` says the same of each
bug, which `ci/atlas --check` and the tests of `runners` compare.
"""


def markdown(atlas):
    known, ran = bugs(), atlas.run()
    groups = by_series(ran)
    missing = [kernel for kernel in atlas.ordered() if kernel.not_run]
    verdicts = {kernel.release: verdict(kernel, known) for kernel in ran}
    out = [HEAD, f"{len(ran)} kernels were run, {dates(ran)}, with "
           f"{', '.join(sorted({k.program for k in ran}))}; {len(missing)} could not be.\n", "## By series\n",
           "| series | kernels | releases | conform | but for known bugs | do not conform |", "|---|---|---|---|---|---|"]
    for name, kernels in groups.items():
        counts = collections.Counter(verdicts[kernel.release] for kernel in kernels)
        out.append(f"| {name} | {len(kernels)} | {span(k.linux for k in kernels)} | {counts[CONFORMS]} | {counts[BUT_FOR]} | {counts[NOT]} |")
    out += ["", "## Bugs by series\n", "The first and the last release of each series that has the bug, of those that were run. \"no\": none has it; "
            "\"·\": its cases\ncould not run, mostly because that kernel lacks what they are about.\n",
            "| bug | " + " | ".join(groups) + " |", "|---|" + "---|" * len(groups)]
    for bug in known:
        cells = [bug_in_series(bug, kernels) for kernels in groups.values()]
        out.append(f"| {bug.name} ({short(bug)}) | " + " | ".join(cells) + " |")
    out += ["", "## What each bug is, and its fix\n"]
    for bug in known:
        out.append(f"- **{bug.name}** ({short(bug)}): {escaped(bug.entry['reason'])}. {escaped(fix(bug))}")
    unexplained = collections.defaultdict(list)
    for kernel in ran:
        for case, failure in kernel.failures.items():
            if failure["alone"] != "pass" and not any(bug.affects(kernel.linux) and bug.explains(case, failure) for bug in known):
                unexplained[case, ", ".join(failure["requirements"])].append(kernel.linux)
    out += ["", "## What no entry explains\n"]
    out += [f"- `{case}` ({ids}): {span(releases)}" for (case, ids), releases in sorted(unexplained.items())] or ["Nothing."]
    flaky = not_repeated(atlas)
    out += ["", "## What did not repeat\n", "Cases that failed once, beside all others, and passed when they were run again by themselves.\n"]
    out += [f"- {kernel.release}: {escaped(kernel.lost)}; a later run came to its end" for kernel in ran if kernel.lost]
    out += [f"- {kernel.release}: `{case}`, {failure['status']}: {escaped(failure['what'])}" for kernel, case, failure in flaky] or ["None."]
    out += ["", "## Not run\n"]
    out += [f"- {kernel.release} ({kernel.package}): {escaped(kernel.not_run)}" for kernel in missing] or ["None."]
    out += ["", "## Every kernel\n", "| kernel | package | verdict | passed | failed | timed out | broken | skipped | bugs |",
            "|---|---|---|---|---|---|---|---|---|"]
    for kernel in ran:
        counts = " | ".join(str(kernel.facts.get(key, 0)) for key in ("passed", "fail", "timed_out", "broken", "skip"))
        has = ", ".join(bug.name for bug in known if bug.on(kernel))
        out.append(f"| {kernel.release} | {kernel.package} | {verdicts[kernel.release]} | {counts} | {has} |")
    return "\n".join(out) + "\n"


def dates(kernels):
    days = sorted({kernel.date for kernel in kernels})
    return "none" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def short(bug):
    first = bug.cases[0].rstrip("*.")
    return "`" + ".".join(first.split(".")[-2:] if bug.excuses else [first]) + "`"


def fix(bug):
    entry = bug.entry
    if "fix" not in entry:
        return f"No changelog of Debian's was found to have the commit. {entry.get('link', '')}"
    return f"Fixed by \"{entry['fix']}\", which is in the changelogs of {', '.join(entry['fixed_in'])}. {entry.get('link', '')}"


def escaped(text):
    # Addresses are recognised as they are.
    return re.sub(r"(?<!\S)https?://\S+|([<>\[\]*_|\\])", lambda found: "\\" + found[1] if found[1] else found[0], " ".join(text.split()))


def page(atlas):
    """Kernels × bugs, in the style of the page of `matrix`, which needs every verdict and would be fifty times as long."""
    known, ran = bugs(), atlas.run()
    e = html.escape
    style = (TOP / "runners/src/matrix/style.css").read_text(encoding="utf-8")
    title = f"unshare(2) of {len(ran)} kernels"
    marks = {True: ("known", "! known bug"), False: ("pass", "✓ pass"), None: ("skip", "– not run")}
    classes = {CONFORMS: "pass", BUT_FOR: "known", NOT: "fail"}
    out = ["<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
           '<meta name="viewport" content="width=device-width, initial-scale=1">', f"<title>{title}</title>",
           f"<style>{style}</style></head><body><main>", f"<h1>{title}</h1>",
           f'<p class="legend">{e(", ".join(sorted({k.program for k in ran})))}, quick tier, {dates(ran)}</p>',
           '<h2 id="kernels">Kernels and documented bugs</h2>',
           '<p class="legend">A bug is seen if one of its cases fails by its requirement. '
           '<span class="pass">✓ pass</span> <span class="fail">✗ fail</span> <span class="known">! known bug</span> '
           '<span class="skip">– not run</span></p>', '<div class="wide"><table><thead><tr>',
           '<th scope="col">kernel</th><th scope="col">verdict</th><th scope="col">passed</th><th scope="col">skipped</th>']
    out += [f'<th scope="col"><a href="#bug-{number}">{e(bug.name)}</a> {e(bug.cases[0].rstrip("*.").split(".")[-1])}</th>'
            for number, bug in enumerate(known)]
    out.append('<th scope="col">other</th></tr></thead><tbody>')
    for kernel in ran:
        judged = verdict(kernel, known)
        out.append(f'<tr><th scope="row">{e(kernel.release)}<br><span class="legend">{e(kernel.linux)}</span></th>'
                   f'<td class="{classes[judged]}">{judged}</td><td class="cell">{kernel.passed}</td><td class="cell">{kernel.skip}</td>')
        for bug in known:
            name, text = marks[bug.on(kernel)]
            if bug.on(kernel) and not bug.excuses:
                name, text = "fail", "✗ fail"
            out.append(f'<td class="cell {name}">{text}</td>')
        others = [case for case, failure in kernel.failures.items() if not any(bug.explains(case, failure) for bug in known)]
        out.append(f'<td class="{"fail" if others else "none"}">{e(", ".join(others)) or "·"}</td></tr>')
    out.append('</tbody></table></div><h2 id="bugs">Bugs</h2>')
    groups = by_series(ran)
    for number, bug in enumerate(known):
        spans = [f"<dt>{name}</dt><dd>{e(bug_in_series(bug, kernels))}</dd>" for name, kernels in groups.items()]
        what = {case: failure["what"] for kernel in ran for case, failure in kernel.failures.items() if bug.explains(case, failure)}
        cases = [f"<dt><code>{e(case)}</code></dt><dd>{e(said)}</dd>" for case, said in sorted(what.items())]
        out.append(f'<details id="bug-{number}" open><summary><strong>{e(bug.name)}</strong> {e(bug.entry["reason"])}</summary>'
                   f'<p>{e(fix(bug))}</p><h3>First and last release with it</h3><dl>{"".join(spans)}</dl>'
                   f'<details><summary>{len(cases)} cases that failed</summary><dl>{"".join(cases)}</dl></details></details>')
    missing = [kernel for kernel in atlas.ordered() if kernel.not_run]
    if missing:
        out.append('<h2 id="not-run">Not run</h2><dl>' + "".join(
            f"<dt>{e(kernel.release)}</dt><dd>{e(kernel.not_run)}</dd>" for kernel in missing) + "</dl>")
    out.append("</main></body></html>")
    return "\n".join(out) + "\n"
