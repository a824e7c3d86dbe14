#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Are refusals right? Object facts say so, by code that has nothing of the tool's.

    confirm.py rows KERNEL SWEEP.jsonl          of a sweep's refusals, which do the facts confirm
    confirm.py search KERNEL --program KLP      functions that must be refused, and some that must not: what does the tool say

KERNEL is the folder of a prepared kernel. Facts come from objdump, from the ELF files, from the image's kallsyms, and from units
that are compiled anew, with and without a mark at the function's entry. Of what the tool has prepared, the image, the modules, the
sources, the build folder and its list of compile commands are used.
"""

import argparse
import collections
import json
import os
import random
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import objects  # noqa: E402
from units import HEAD, Kernel, entry, marked  # noqa: E402
from verdict import AMBIGUOUS, FINE, FOLDED, INIT, SAME, SITE, WEAK, Verdict, judge  # noqa: E402

ABSENT = "file-not-built"
# What the tool says of it depends on the folder.
ALIKE = {ABSENT: ("file-not-livepatchable",)}
KEY, SWITCH, UNFAITHFUL, ENDBR = "read-only-key", "module-switch", "not-faithful", "no-endbr"


# Rows of a sweep.

def confirm_row(kernel, row):
    unit = kernel.unit_of(row["unit"], row["object"])
    if unit is None:
        return "can't tell", [f"no command makes {row['unit']}"]
    refusal = row["class"]
    if refusal == UNFAITHFUL:
        return unfaithful(unit, row["function"])
    if refusal in (KEY, SWITCH):
        return switched(kernel, unit, row)
    named = re.search(r"symbols (\S+),", row.get("message") or "")
    if refusal == AMBIGUOUS and named and named[1] != row["function"]:
        return ambiguous(unit, named[1])
    verdict, _ = judge(unit, row["function"])
    if verdict.expected == refusal:
        return "confirmed", verdict.facts
    if refusal in verdict.cautious:
        return "confirmed", verdict.facts + ["no fact of the unit alone tells that nobody else calls it"]
    if verdict.expected is None or refusal not in (INIT, WEAK, SITE, AMBIGUOUS, FOLDED):
        return "can't tell", verdict.facts
    return "not confirmed", verdict.facts + [f"the facts say: {verdict.expected}"]


def unfaithful(unit, function):
    entry = unit.before.function(function)
    place = None if entry is None else unit.place(entry)
    if place is None:
        return "can't tell", [f"{function} can't be found in what runs"]
    if unit.differs(unit.before.section_at(entry), place - entry, entry, unit.end(entry)):
        return "confirmed", [f"the code of {function} at {place:#x} isn't this unit's"]
    return "not confirmed", [f"the code of {function} at {place:#x} is this unit's"]


def ambiguous(unit, name):
    """Data that the unit has: does the running code lead to one of the symbols of its name?"""
    own = [symbol for symbol in unit.before.symbols if symbol.name == name]
    running = [symbol.place for symbol in unit.running.named.get(name, [])]
    led = {place for symbol in own for place in unit.led(symbol)}
    fitting = sorted(led.intersection(running))
    facts = [f"{len(running)} symbols {name} run, the unit has {len(own)}; its code leads to {len(led)} places, {len(fitting)} of them such"]
    if len(own) == 1 and len(led) == len(fitting) == 1:
        return "not confirmed", facts + [f"it is the one at {fitting[0]:#x}"]
    return "confirmed", facts


def switched(kernel, unit, row):
    """Keys that the code of the function's holders is switched by."""
    found = []
    for target in row.get("targets") or [row["function"]]:
        found += keys(kernel, unit, target)
    named = [fact for key, fact in found if key in (row.get("message") or "")]
    return ("confirmed", named) if named else ("not confirmed", ["the code has no such key"])


def keys(kernel, unit, function):
    """(key, fact) of those that are read-only after boot, or a module's."""
    start, stop = kernel.image.bound("__start_ro_after_init"), kernel.image.bound("__end_ro_after_init")
    entry, found = unit.before.function(function), []
    for place, key in unit.before.switches:
        if entry is None or place is None or unit.before.whole(unit.before.function_at(place)) != entry:
            continue
        there = kernel.image.bound(key.name)
        if there is not None and start <= there < stop:
            found.append((key.name, f"{function} has a jump entry on {key.name} at {there:#x}, read-only after boot"))
        elif there is None:
            found.append((key.name, f"{function} has a jump entry on {key.name}, which vmlinux lacks"))
    return found


def rows(kernel, arguments):
    with open(arguments.rows) as file:
        lines = [json.loads(line) for line in file if line.strip()]
    refused = [row for row in lines if row.get("status") == "refused"]
    counts = collections.Counter()
    for row in refused:
        try:
            answer, facts = confirm_row(kernel, row)
        except RuntimeError as error:
            answer, facts = "can't tell", [str(error)]
        counts[row["class"], answer] += 1
        show(f"{answer}: {row['class']} {row['function']} ({row['unit']})", facts)
    table(counts)
    return any(answer == "not confirmed" for _, answer in counts)


def show(title, facts):
    print(title, flush=True)
    for fact in facts:
        print(f"    {fact}", flush=True)


def table(counts):
    print()
    for (name, answer), count in sorted(counts.items(), key=lambda item: tuple(map(str, item[0]))):
        print(f"{count:>5}  {name}: {answer}")


# The other way round.

def plain(code, entry):
    """The only name of a function that runs later, by C's spelling and of code that the C compiler names so."""
    names = code.names(entry)
    if len(names) != 1 or not re.fullmatch(r"[A-Za-z_]\w*", names[0]):
        return None
    section = code.section_at(entry)
    return names[0] if section and not section.boot and section.executable else None


def init_only(kernel, draw):
    image = kernel.image
    for entry in draw.sample(image.functions, len(image.functions)):
        name = plain(image, entry)
        if name and image.has_site(entry) and image.boot_ways(entry)[0]:
            yield "vmlinux", name


def of_modules(kernel, draw):
    for module in draw.sample(sorted(kernel.files), len(kernel.files)):
        code = kernel.running(module)
        for entry in code.functions:
            name = plain(code, entry)
            if name:
                yield module, code, entry, name


def init_only_of_modules(kernel, draw):
    for module, code, entry, name in of_modules(kernel, draw):
        if code.has_site(entry) and code.boot_ways(entry)[0]:
            yield module, name


def without_site(kernel, draw):
    image = kernel.image
    for entry in draw.sample(image.functions, len(image.functions)):
        name = plain(image, entry)
        if name and not image.has_site(entry) and not name.startswith(("__SC", "__pfx", "__ia32_", "__x64_")):
            callers, others = image.ways_into(entry)
            if callers or others:
                yield "vmlinux", name


def without_site_of_modules(kernel, draw):
    for module, code, entry, name in of_modules(kernel, draw):
        if not code.has_site(entry) and any(code.ways_into(entry)):
            yield module, name


WEAK_HEAD = re.compile(r"^(?:[\w *]+ )?(?:__weak|__attribute__\(\(weak\)\))[\w *]*?\b(\w+)\s*\(", re.M)


def weak(kernel, draw):
    found = set()
    for command in kernel.commands:
        source = os.path.normpath(command[0])
        if command[2] == "vmlinux" and os.path.isfile(os.path.join(kernel.source, source)):
            found.update((command, name) for name in WEAK_HEAD.findall(kernel.text(source)))
    for command, name in draw.sample(sorted(found, key=lambda item: (item[0][1], item[1])), len(found)):
        if kernel.image.function(name) is not None:
            yield command, name


def several(kernel, draw):
    """Names that several functions have, the units first in which nothing else has a name of its own."""
    image = kernel.image
    count = lambda name: sum(symbol.function for symbol in image.named.get(name, []))
    by_unit = {}
    for name, commands in kernel.definitions().items():
        for command in commands:
            if command[2] == "vmlinux" and count(name):
                by_unit.setdefault(command[1], (command, set()))[1].add(name)
    hard, easy = [], []
    for _, (command, names) in sorted(by_unit.items()):
        shared = sorted(name for name in names if count(name) > 1)
        (hard if len(shared) == len(names) else easy).extend((command, name) for name in shared)
    yield from draw.sample(hard, len(hard))
    yield from draw.sample(easy, len(easy))


def folded(kernel, draw):
    """Of functions with several names, those that one source defines by two of them at least."""
    image, defined = kernel.image, kernel.definitions()
    shared = [entry for entry in image.functions if len(set(image.names(entry))) > 1 and not image.is_boot(entry)]
    for entry in draw.sample(shared, len(shared)):
        names = sorted(name for name in set(image.names(entry)) if name in defined)
        units = [{command[1] for command in defined[name]} for name in names]
        if len(names) > 1 and set.intersection(*units):
            for name in draw.sample(names, min(2, len(names))):
                yield "vmlinux", name


CLONE = re.compile(r"([A-Za-z_]\w*)\.(?:isra|constprop|part)\.\d+$")


def clones(kernel, draw):
    """Functions of which GCC has made another one, whose callers have to be replaced."""
    image = kernel.image
    found = {match[1] for entry in image.functions for match in map(CLONE.match, image.names(entry)) if match}
    for name in draw.sample(sorted(found), len(found)):
        yield "vmlinux", name


class Source(str):
    """A source that nothing which runs was made of."""


# Sources for other machines, for programs that build the kernel, and for people.
ELSEWHERE = re.compile(r"^(?:arch/(?!x86/)|tools/|samples/|scripts/|Documentation/|usr/|certs/|debian/)")


# Code of a kernel build that no function replacement reaches.
OUTSIDE = re.compile(r"^(?:arch/x86/(?:boot|realmode|purgatory|entry/vdso)/|drivers/firmware/efi/libstub/)")


def absent(kernel, draw, wanted=None):
    """Global functions that no symbol table of what runs has, nor any other one of their source."""
    sources = []
    for folder, _, files in os.walk(kernel.source):
        at = os.path.relpath(folder, kernel.source)
        sources += [os.path.normpath(f"{at}/{file}") for file in files if file.endswith(".c")]
    sources = sorted(source for source in sources if (wanted.match(source) if wanted else not ELSEWHERE.match(source)))
    names = kernel.names()
    for source in draw.sample(sources, len(sources)):
        heads = outer(kernel.text(source))
        if heads and not heads & names:
            yield Source(source), draw.choice(sorted(heads))


def outside(kernel, draw):
    return absent(kernel, draw, OUTSIDE)


def outer(text):
    """The global functions that a source defines, by its text."""
    lines = [line for line in text.splitlines() if line[:1].isalpha() and not line.startswith("static")]
    heads = {match[1] for line in lines for match in [HEAD.search(line)] if match and not line.endswith(";")}
    return {name for name in heads if name.islower() and entry(text, name) is not None}


def left_out(kernel, draw):
    """Global functions of sources that something is made of, but not these."""
    names = kernel.names()
    for command in draw.sample(kernel.commands, len(kernel.commands)):
        source = os.path.normpath(command[0])
        if os.path.isfile(os.path.join(kernel.source, source)):
            heads = outer(kernel.text(source)) - names
            if heads:
                yield command, draw.choice(sorted(heads))


KINDS = {"init": init_only, "init-modules": init_only_of_modules, "site": without_site,
         "site-modules": without_site_of_modules, "weak": weak, "several": several, "folded": folded, "clones": clones, "absent": absent, "outside": outside,
         "left-out": left_out}


def search(kernel, arguments):
    defined = kernel.definitions()
    counts, finds, confirmed = collections.Counter(), 0, collections.Counter()
    out = open(arguments.output, "a") if arguments.output else None
    kinds = arguments.kinds.split(",")
    number = -(-arguments.number // len(kinds))
    for kind in kinds:
        draw, tried, drawn = random.Random(f"{arguments.seed} {kind}"), 0, 0
        for where, name in KINDS[kind](kernel, draw):
            if tried >= number or drawn >= 8 * number:
                break
            if isinstance(where, Source):
                commands = [(where, where, "nothing")]
            else:
                commands = [where] if isinstance(where, tuple) else [c for c in defined.get(name, []) if c[2] == where]
            if len(commands) != 1:
                continue
            drawn += 1
            result = candidate(kernel, commands[0], name, arguments)
            if result is None:
                continue
            verdict, said, answer = result
            tried += 1
            counts[f"{kind}: {verdict.expected}", answer] += 1
            confirmed[verdict.expected] += answer == "agrees"
            finds += answer == "FIND"
            show(f"{answer}: {name} ({commands[0][1]}, {commands[0][2]}): facts {verdict.expected}, tool {said}", verdict.facts)
            if out:
                row = {"kind": kind, "function": name, "unit": commands[0][1], "object": commands[0][2],
                       "expected": verdict.expected, "said": said, "answer": answer, "facts": verdict.facts}
                out.write(json.dumps(row) + "\n")
                out.flush()
    table(counts)
    print()
    for expected, count in sorted(confirmed.items()):
        print(f"{count:>5}  {expected}: the facts and the tool say so")
    return finds


def candidate(kernel, command, name, arguments):
    """The facts' verdict on a function, what the tool says of it, and how they compare."""
    try:
        if isinstance(command[0], Source):
            verdict = Verdict(ABSENT, [f"no symbol table of what runs has {name}, nor any global function of {command[0]}"])
            patch = marked(kernel.text(command[0]), command[0], name)[1]
        else:
            verdict, patch = judge(kernel.unit(command), name)
    except (RuntimeError, KeyError) as error:
        print(f"left out: {name} ({command[1]}): {error!r}", flush=True)
        return None
    if verdict.expected is None or patch is None:
        print(f"left out: {name} ({command[1]}): {'; '.join(verdict.facts[-2:])}", flush=True)
        return None
    refused = ask(kernel, patch, arguments.program, arguments.create)
    said = ", ".join(sorted(refused)) or "made"
    if verdict.expected == FINE:
        careful = refused and refused <= verdict.cautious
        answer = "agrees" if not refused else "agrees, with care" if careful else "FIND"
    else:
        answer = "agrees" if refused & {verdict.expected, *ALIKE.get(verdict.expected, ())} else "FIND"
    return verdict, said, answer


def ask(kernel, patch, program, create):
    """The ids with which the tool refuses a patch; none where it writes a module."""
    with tempfile.TemporaryDirectory(dir=kernel.scratch) as folder:
        path = os.path.join(folder, "mark.patch")
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(patch)
        command = [program, "plan", "-q", "--message-format", "json", "-k", kernel.name, path]
        if create:
            command[1:2] = ["create", "-o", os.path.join(folder, "module")]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = set()
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            finding = json.loads(line)
            if finding.get("severity") == "refuse":
                found.add(finding["id"])
    if done.returncode > 1 and not found:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr[-300:]}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", help="folder for objects and the image's references, kept [default: a new one]")
    commands = parser.add_subparsers(dest="command", required=True)
    of_rows = commands.add_parser("rows")
    of_rows.add_argument("kernel")
    of_rows.add_argument("rows")
    of_search = commands.add_parser("search")
    of_search.add_argument("kernel")
    of_search.add_argument("--program", default="klp-extract")
    of_search.add_argument("--seed", type=int, default=1)
    of_search.add_argument("--number", type=int, default=70, help="functions, of all kinds together")
    of_search.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    of_search.add_argument("--create", action="store_true", help="ask `create`, not the quicker `plan`")
    of_search.add_argument("--output", help="a file of JSON lines to add to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kernel = Kernel(os.path.abspath(arguments.kernel), os.path.abspath(arguments.scratch or scratch))
        bad = (rows if arguments.command == "rows" else search)(kernel, arguments)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
