#!/usr/bin/env python3
"""Runs the quick tier on every kernel that can be had, and keeps what was seen. Called by ci/atlas, whose --help tells
how.

    atlas.py --program PROGRAM --cache DIRECTORY [ARGUMENT...]
"""

import argparse
import collections
import contextlib
import datetime
import fcntl
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import atlas_kept
from atlas_kept import BUGS, DATA, PAGES, Atlas, natural

AGREES, DIFFERS, NOT_RUN, USAGE = 0, 1, 3, 129

# So many cases that nothing explains are run once more one by one; more of them, all together.
MANY = 5

# Kernels whose name is no release of Debian's usual flavour: the newest of each series in these.
FLAVOURS = ["amd64", "rt-amd64"]


def say(text):
    print(f"ci/atlas: {text}", file=sys.stderr, flush=True)


# --- Kernels ------------------------------------------------------------------------------------


class Kernel:
    """A kernel that Debian packages: its release and the version of the package."""

    def __init__(self, release, version, parts=()):
        self.release, self.version = release, version
        # Packages that hold it, if this program's `kernels fetch` does not know them.
        self.parts = list(parts)
        self.is_user_mode = release.startswith("uml-")
        numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
        self.upstream = tuple(int(number or 0) for number in numbers.groups())

    @property
    def series(self):
        return ("uml-" if self.is_user_mode else "") + "%d.%d" % self.upstream[:2]

    @property
    def flavour(self):
        if self.is_user_mode:
            return "uml"
        found = re.search(r"-((?:rt-|cloud-)?[a-z][a-z0-9-]*)$", self.release)
        return found.group(1) if found else ""

    def order(self):
        """Debian's order of versions, as far as kernels need it: a tilde is before everything, numbers are numbers."""
        return natural(self.version)


def spread(kernels):
    """The newest, the oldest, then the middle between two that were taken."""
    ordered = sorted(kernels, key=Kernel.order)
    order = [len(ordered) - 1, 0] if len(ordered) > 1 else [0]
    gaps = collections.deque([(0, len(ordered) - 1)])
    while gaps:
        first, last = gaps.popleft()
        if last - first > 1:
            middle = (first + last) // 2
            order.append(middle)
            gaps += [(first, middle), (middle, last)]
    return [ordered[index] for index in order]


def in_order(kernels):
    """By series in turn, so that each is known as well as the others. A second build of one upstream version is last,
    and user-mode Linux behind all of them."""
    series = collections.defaultdict(dict)
    again = []
    # The newest build of a version is the one that the archive is surest to have.
    for kernel in sorted(kernels, key=Kernel.order, reverse=True):
        first = series[kernel.series].setdefault((kernel.upstream, "~rc" in kernel.version), kernel)
        if first is not kernel:
            again.append(kernel)
    turns = [spread(of.values()) for _, of in sorted(series.items(), key=lambda one: natural(one[0]), reverse=True)]
    ordered = [turn[at] for at in range(max(map(len, turns), default=0)) for turn in turns if at < len(turn)]
    return sorted(ordered + again, key=lambda kernel: kernel.is_user_mode)


class Runner:
    """The program, with a cache of its own."""

    def __init__(self, options):
        self.program, self.cache, self.options = options.program, Path(options.cache), options
        self.environment = os.environ | {"XDG_CACHE_HOME": str(self.cache)}
        self.root = self.cache / "unshare-conformance"
        self.children = {}
        self.lock = threading.Lock()
        self.stopped = None

    def call(self, *command, cleans_up=False, **more):
        """Runs a command to its end, unless a signal ends it. Its status, output and messages. One that does not clean up
        is ended with all that it has started."""
        with self.lock:
            if self.stopped:
                return None, "", "interrupted"
            child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, errors="replace", env=self.environment,
                                     start_new_session=True, **more)
            self.children[child.pid] = cleans_up
        out, errors = child.communicate()
        with self.lock:
            del self.children[child.pid]
        return child.returncode, out, errors

    def stop(self, number, _):
        """Ends what is running."""
        self.stopped = number
        for pid, cleans_up in list(self.children.items()):
            with contextlib.suppress(ProcessLookupError):
                (os.kill if cleans_up else os.killpg)(pid, signal.SIGTERM)

    def kernels(self):
        """The kernels in reach."""
        arch = ["--arch", self.options.arch] if self.options.arch else []
        status, out, errors = self.call(self.program, "kernels", "list", "--format", "json", *arch)
        if status != 0:
            raise Impossible(f"the list of kernels cannot be had: {last_line(errors)}")
        listed = [Kernel(entry["release"], entry["version"]) for entry in json.loads(out)]
        return self.flavours() if self.options.flavours else listed

    def apt(self, *command, **more):
        """apt, with the package lists that the program has fetched."""
        tool, *arguments = command
        status, out, errors = self.call(tool, "-c", self.root / "apt/apt.conf", *arguments, **more)
        if status != 0:
            raise Impossible(f"{tool}: {last_line(errors)}")
        return out

    def flavours(self):
        """The newest kernel of each series in the flavours that the program's own list leaves out."""
        pattern = rf"^linux-(image|binary|base)-[0-9].*[0-9]-({'|'.join(FLAVOURS)})$"
        names = [line.split(" - ")[0] for line in self.apt("apt-cache", "search", "--names-only", pattern).splitlines()
                 if "meta-package" not in line]
        there = {tuple(map(str.strip, line.split("|")[:2])) for line in self.apt("apt-cache", "madison", *names).splitlines()
                 if line.endswith("Packages")}
        newest = {}
        for name, version in sorted(there):
            kind, release = re.match(r"linux-(image|binary|base)-(.*)", name).groups()
            if kind == "base" or release.startswith("unsigned-"):
                continue
            parts = [f"linux-{kind}-{release}={version}" for kind in ("image", "base", "binary")
                     if (f"linux-{kind}-{release}", version) in there]
            kernel = Kernel(release, version, parts)
            key = (kernel.series, kernel.flavour)
            if key not in newest or newest[key].order() < kernel.order():
                newest[key] = kernel
        return list(newest.values())

    # --- One kernel -----------------------------------------------------------------------------

    def directory(self, kernel):
        return self.root / "kernels" / kernel.release

    def fetch(self, kernel):
        """Why the kernel cannot be had; nothing if it is here now."""
        if kernel.parts:
            return self.unpack(kernel)
        arch = ["--arch", self.options.arch] if self.options.arch else []
        status, _, errors = self.call(self.program, "kernels", "fetch", *arch, kernel.release)
        return None if status == 0 else last_line(errors)

    def unpack(self, kernel):
        directory = self.directory(kernel)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            for part in kernel.parts:
                self.apt("apt-get", "-q", "download", part, cwd=directory)
        except Impossible as why:
            # Which server was asked is nobody's business. The same words as the program's own, for the same.
            gone = f"the archive lists {part} and does not have it: try again later, or choose another release"
            return gone if " 404 " in str(why) else re.sub(r"https?://\S+", "a package", str(why))
        for package in directory.glob("*.deb"):
            listing = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "--wildcards", "--no-anchored", "--transform", "s,.*/,,", "vmlinuz*", "config*"],
                           stdin=listing.stdout, cwd=directory, stderr=subprocess.DEVNULL, check=False)
            listing.wait()
            package.unlink()
        image = directory / f"vmlinuz-{kernel.release}"
        for other in directory.glob("vmlinuz*"):
            other.rename(image)
        for other in directory.glob("config"):
            other.rename(directory / f"config-{kernel.release}")
        return None if image.is_file() else "its packages hold no kernel"

    def throw_away(self, kernel):
        shutil.rmtree(self.directory(kernel), ignore_errors=True)

    def clean(self):
        """Nothing stays but the package lists and what is known of this machine."""
        for name in ("kernels", "unpacked", "consoles"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for download in self.root.glob("apt*/.tmp*"):
            shutil.rmtree(download, ignore_errors=True)

    def guest(self, kernel, cpus, *more):
        name = f"{kernel.release}:{self.options.arch}" if self.options.arch and not kernel.parts else kernel.release
        init = ["--init", self.options.init] if self.options.init else []
        return self.call(self.program, "--kernel", name, "--cpus", cpus, "--seed", "1", "--format",
                         "json", "--console", self.root / f"consoles/{kernel.release}", *init, *more, cleans_up=True)

    def run(self, kernel):
        """What came of a kernel, and the report of its run."""
        began = time.monotonic()
        (self.root / "consoles").mkdir(parents=True, exist_ok=True)
        status, out, errors = self.guest(kernel, 1, "--tier", "quick")
        result = head(kernel)
        run = read(out)
        if lost := guest_lost(run):
            # Once more: an emulator may have lost it.
            result["lost"] = lost
            status, out, errors = self.guest(kernel, 1, "--tier", "quick")
            run = read(out)
        if not run["cases"]:
            said = run["given_up"] or last_line(errors)
            return result | {"not_run": said}, out
        result |= digest(run) | {"status": status}
        # The documented bugs that the quick tier or a single CPU does not show.
        beyond = [name for name in bugs_cases() if name not in {name for name, *_ in run["cases"]}]
        more = ""
        if not self.options.quick:
            _, more, _ = self.guest(kernel, 2, "--tier", "full", "--exact", *beyond, *atlas_kept.TWO_CPUS)
        further = digest(read(more))
        result["beyond"] = [name for name, *_ in read(more)["cases"]]
        result["bad"] = [bad for bad in result["bad"] if bad["case"] not in atlas_kept.TWO_CPUS] + further["bad"]
        for reason, names in further["skipped"].items():
            result["skipped"].setdefault(reason, []).extend(names)
        # Each in a guest of its own: what a case before it has left to the kernel may be what fails it. Many fail for one
        # reason, and are run together.
        linux, known = atlas_kept.linux(result), atlas_kept.bugs()
        suspects = [bad for bad in result["bad"] if bad["status"] != "pass" and not any(
            bug.affects(linux) and bug.explains(bad["case"], bad) for bug in known)]
        if guest_lost(run):
            suspects = []
        for some in [[bad] for bad in suspects] if len(suspects) <= MANY else [suspects]:
            _, again, _ = self.guest(kernel, 1, "--tier", "quick", "--exact", *[bad["case"] for bad in some])
            alone = {name: verdict["status"] for name, verdict, _ in read(again)["cases"]}
            for bad in some:
                bad["alone"] = alone.get(bad["case"], "not run")
        result["seconds"] = round(time.monotonic() - began, 1)
        return result, out


def bugs_cases():
    """The cases that find documented bugs, by their full names."""
    return [name for bug in atlas_kept.bugs() for name in bug.cases if not name.endswith((".", "*"))]


class Impossible(Exception):
    """Something outside cannot be had."""


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("unshare-conformance: ") if lines else "it says nothing"


# --- Results ------------------------------------------------------------------------------------


def head(kernel):
    return {
        "release": kernel.release, "package": kernel.version, "flavour": kernel.flavour,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def read(text):
    """A run in `--format json`, which may have been cut short."""
    run = {"facts": {}, "program": "", "cases": [], "counts": {}, "given_up": None}
    plan = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            break
        match event.get("event"):
            case "run_started":
                run["facts"], run["program"] = event["facts"], event["program"]
                plan = [case["name"] for case in event["plan"]]
            case "case_finished":
                run["cases"].append((plan[event["index"]], event["verdict"], event["outcome"]))
            case "bailed_out":
                run["given_up"] = event["why"]
            case "run_finished":
                run["counts"] = event["counts"]
    return run


def guest_lost(run):
    """Why the guest did not come to the end; nothing if it did."""
    lost = "not run: the guest "
    reasons = (verdict.get("reason", "") for _, verdict, _ in run["cases"])
    return next((reason.removeprefix("not run: ") for reason in reasons if reason.startswith(lost)), None)


def digest(run):
    """What is kept of a run: everything but what has passed."""
    bad, skipped = [], {}
    for name, verdict, outcome in run["cases"]:
        failed = verdict.get("failed", [])
        if verdict["status"] == "skip":
            skipped.setdefault(verdict["reason"], []).append(name)
        elif (verdict["status"], outcome["outcome"]) != ("pass", "as_judged"):
            first = "{call}: expected {expected}, got {actual}".format(**failed[0]) if failed else verdict.get("reason", "")
            what = first or outcome.get("bug", "")
            bad.append({
                "case": name, "status": verdict["status"], "outcome": outcome["outcome"],
                "requirements": sorted({id for check in failed for id in check["requirement"].split(", ")}),
                "what": what if len(what) <= 200 else what[:199] + "…",
            })
    facts = run["facts"]
    return {
        "version": facts.get("version", [0, 0, 0]), "build": facts.get("build", ""),
        "architecture": facts.get("machine", ""), "program": run["program"], "counts": run["counts"], "bad": bad, "skipped": skipped, "given_up": run["given_up"],
    }


def summary(result):
    """A kernel in a few words."""
    if "not_run" in result:
        return f"not run: {result['not_run']}"
    counts = result["counts"]
    words = [f"{counts[key]} {word}" for key, word in (
        ("failed", "failed"), ("timed_out", "timed out"), ("broken", "broken"), ("known_bugs", "known"),
        ("unexpected_passes", "stale")) if counts.get(key)]
    not_again = [bad["case"] for bad in result["bad"] if bad["status"] != "pass" and bad.get("alone") == "pass"]
    words += [f"not again by themselves: {', '.join(not_again)}"] if not_again else []
    return ", ".join(words) or "all passed"


def write(path, text):
    """A file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(text if isinstance(text, bytes) else text.encode())
    part.replace(path)


# --- The run ------------------------------------------------------------------------------------


def chosen(runner, options):
    kernels = in_order(runner.kernels())
    if options.kernels:
        begins = lambda text, name: text.startswith(name) and not (name[-1:].isdigit() and text[len(name):][:1].isdigit())
        unknown = [name for name in options.kernels if not any(
            begins(kernel.release, name) or begins(kernel.version, name) for kernel in kernels)]
        if unknown:
            usage(f"no kernel begins with {', '.join(unknown)}: see ci/atlas --list")
        kernels = [kernel for kernel in kernels if any(
            begins(kernel.release, name) or begins(kernel.version, name) for name in options.kernels)]
    number, of = options.shard
    return kernels[number - 1::of]


def run_all(runner, options):
    directory = Path(options.results)
    directory.mkdir(parents=True, exist_ok=True)
    kernels = chosen(runner, options)
    path = lambda kernel: directory / f"{kernel.release}.atlas.json"

    def is_done(kernel):
        return not options.again and path(kernel).is_file() and "not_run" not in json.loads(path(kernel).read_text())

    queue = collections.deque(kernel for kernel in kernels if not is_done(kernel))
    total, earlier = len(kernels), len(kernels) - len(queue)
    if earlier:
        say(f"{earlier} of {total} have a result in {directory}")
    on_disk = threading.Semaphore(max(2, options.jobs))
    fetched, lock, done = collections.deque(), threading.Condition(), []
    began, missing = time.monotonic(), []

    def finished(kernel, result, report):
        runner.throw_away(kernel)
        on_disk.release()
        if runner.stopped:
            return
        write(path(kernel), json.dumps(result, indent=1) + "\n")
        if report:
            write(directory / f"{kernel.release}.results.json.xz", lzma.compress(report.encode()))
        with lock:
            done.append(kernel)
            if "not_run" in result:
                missing.append(kernel)
            left = total - earlier - len(done)
            each = (time.monotonic() - began) / len(done)
            say(f"{earlier + len(done)} of {total}: {kernel.release} ({kernel.version}): {summary(result)}; "
                f"{result.get('seconds', 0):.0f} s, {left * each / 60:.0f} min left")

    def fetching():
        while queue and not runner.stopped:
            on_disk.acquire()
            kernel = queue.popleft()
            why = runner.fetch(kernel)
            if why is not None:
                finished(kernel, head(kernel) | {"not_run": why}, None)
                continue
            with lock:
                fetched.append(kernel)
                lock.notify()
        with lock:
            fetched.extend([None] * options.jobs)
            lock.notify_all()

    def running():
        while True:
            with lock:
                lock.wait_for(lambda: fetched)
                kernel = fetched.popleft()
            if kernel is None:
                return
            finished(kernel, *runner.run(kernel))

    threads = [threading.Thread(target=work) for work in [fetching] + [running] * options.jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if runner.stopped:
        say(f"interrupted; {len(done)} of {total - earlier} were run, and are not run again")
        return 128 + runner.stopped
    for kernel in missing:
        say(f"not run: {kernel.release}")
    return NOT_RUN if missing else AGREES


# --- What is kept -------------------------------------------------------------------------------


def keep(directory):
    """Takes the results of a directory into the repository."""
    atlas, new = Atlas.kept(), Atlas.of_results(directory)
    if not new.kernels:
        usage(f"{directory} has no results of ci/atlas")
    # What could not be run this time may have been before.
    new = {name: kernel for name, kernel in new.kernels.items() if not kernel.not_run or name not in atlas.kernels}
    atlas.kernels |= new
    write(DATA, atlas.text())
    write(BUGS, atlas_kept.lists_brought_up_to_date(BUGS.read_text(encoding="utf-8"), atlas))
    say(f"{len(new)} kernels of {directory} are in {DATA.name}, which has {len(atlas.kernels)}; --document writes the pages")
    return AGREES


def document():
    atlas = Atlas.kept()
    for kind, text in pages(atlas).items():
        write(PAGES[kind], text)
    return AGREES


def pages(atlas):
    return {"md": atlas_kept.markdown(atlas), "html": atlas_kept.page(atlas)}


def check(directory):
    atlas = Atlas.of_results(directory) if directory else Atlas.kept()
    if not atlas.kernels:
        usage(f"{directory or DATA} has no results of ci/atlas")
    said = atlas_kept.disagreements(atlas, with_lists=not directory)
    if not directory:
        said += [f"{PAGES[kind].name} is not up to date: ci/atlas --document" for kind, text in pages(atlas).items()
                 if not PAGES[kind].exists() or PAGES[kind].read_text(encoding="utf-8") != text]
    for kernel, case, failure in atlas_kept.not_repeated(atlas):
        say(f"did not repeat: {kernel.release}: {case}: {failure['status']}: {failure['what']}")
    for sentence in said:
        print(sentence)
    say(f"{len(atlas.run())} kernels and {len(atlas_kept.bugs())} documented bugs: "
        + (f"{len(said)} disagreements" if said else "they agree"))
    return DIFFERS if said else AGREES


# --- The command line ----------------------------------------------------------------------------


def usage(why):
    say(why)
    raise SystemExit(USAGE)


def shard(text):
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError("must be I/N, from 1/N to N/N")
    return int(found[1]), int(found[2])


def jobs(text):
    if not re.fullmatch(r"[1-9]\d?", text):
        raise argparse.ArgumentTypeError("must be a number from 1 to 99")
    return int(text)


def main():
    parser = argparse.ArgumentParser(prog="ci/atlas", add_help=False, allow_abbrev=False)
    parser.error = lambda message: usage(f"{message}: see --help")
    for name in ("--program", "--cache", "--results", "--arch", "--init", "--keep"):
        parser.add_argument(name)
    for name in ("--again", "--list", "--document", "--check", "--flavours", "--quick"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--shard", type=shard, default=(1, 1))
    parser.add_argument("--jobs", type=jobs, default=1)
    parser.add_argument("kernels", nargs="*")
    options = parser.parse_args()
    options.results = options.results or "target/atlas"
    modes = [bool(options.keep), options.document, options.check, options.list]
    if sum(modes) > 1:
        usage("--keep, --document, --check and --list exclude each other")
    try:
        if options.keep:
            return keep(options.keep)
        if options.document:
            return document()
        if options.check:
            return check(*options.kernels[:1] or [None])
    except OSError as error:
        say(error)
        return DIFFERS
    cache = Path(options.cache)
    cache.mkdir(parents=True, exist_ok=True)
    runner = Runner(options)
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another ci/atlas is at work with this cache")
            return NOT_RUN
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, runner.stop)
        try:
            if options.list:
                for kernel in chosen(runner, options):
                    print(f"{kernel.release}  {kernel.version}")
                return AGREES
            runner.clean()
            return run_all(runner, options)
        except Impossible as why:
            say(why)
            return 128 + runner.stopped if runner.stopped else NOT_RUN
        finally:
            if not options.list:
                runner.clean()


if __name__ == "__main__":
    sys.exit(main())
