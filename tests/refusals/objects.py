# SPDX-License-Identifier: GPL-2.0-only
"""Who refers to which function: of an object file, a module, or the running kernel's image.

Instructions come from objdump, all else from the ELF files themselves. Every place has one number: its address in the image;
in a relocatable file the section's index in the upper half, and the offset in the lower.
"""

import bisect
import re
import struct
import subprocess

SECTION = 1 << 32

# Sections whose entries name places of code without being a way into it.
TABLES = (
    "__mcount_loc", "__patchable_function_entries", ".orc", ".static_call_sites", "__bug_table", ".smp_locks",
    ".altinstructions", ".parainstructions", ".retpoline_sites", ".return_sites", ".call_sites", ".ibt_endbr_seal",
    "__ex_table", "__jump_table", "_kprobe_blacklist", "_error_injection_whitelist", ".eh_frame", ".note",
)
INITCALLS = (".initcall", ".con_initcall", ".exitcall")

# What relocations of x86-64 mean: width in bytes, relative to the place.
KINDS = {1: (8, False), 2: (4, True), 4: (4, True), 9: (4, True), 10: (4, False), 11: (4, False), 24: (8, True),
         41: (4, True), 42: (4, True)}

WEAK, GLOBAL, LOCAL = "weak", "global", "local"


class Section:
    def __init__(self, index, name, flags, kind, start, size, data):
        self.index, self.name, self.flags, self.kind = index, name, flags, kind
        self.start, self.end, self.data = start, start + size, data

    @property
    def allocated(self):
        return bool(self.flags & 2)

    @property
    def executable(self):
        return bool(self.flags & 4)

    @property
    def boot(self):
        return self.name.startswith((".init", ".exit")) or self.name == ".head.text"


class Symbol:
    def __init__(self, name, place, size, binding, function, section):
        self.name, self.place, self.size, self.binding = name, place, size, binding
        self.function, self.section = function, section


class Reference:
    """`kind`: call (also a jump), address (an instruction has it), data, initcall, export."""

    def __init__(self, place, target, kind):
        self.place, self.target, self.kind = place, target, kind


def elf_sections(data):
    """The sections of an ELF64 file, with their raw headers' link and info."""
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    if count == 0:
        (count,) = struct.unpack_from("<Q", data, offset + 0x20)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    strings = headers[names][4]
    relocatable = struct.unpack_from("<H", data, 16)[0] == 1
    sections, links = [], []
    for index, (name, kind, flags, address, at, length, link, info, _, _) in enumerate(headers):
        start = index * SECTION if relocatable else address
        contents = b"" if kind == 8 else data[at:at + length]
        sections.append(Section(index, text_at(data, strings + name), flags, kind, start, length, contents))
        links.append((link, info))
    return sections, links, relocatable


def text_at(data, at):
    return data[at:data.index(b"\0", at)].decode()


class Code:
    """What an object has of code. `functions` are their entries in order."""

    def __init__(self, sections, symbols, path):
        self.sections, self.symbols, self.path = sections, symbols, path
        self.places = sorted((s for s in sections if s.allocated and s.end > s.start), key=lambda s: s.start)
        self.starts = [section.start for section in self.places]
        self.named, self.at = {}, {}
        for symbol in symbols:
            self.named.setdefault(symbol.name, []).append(symbol)
            if symbol.function:
                self.at.setdefault(symbol.place, []).append(symbol)
        self.functions = sorted(self.at)
        self.sites, self.exports, self.references = set(), set(), []
        self.switches = []  # (place in code, place of the key) of __jump_table

    def section_at(self, place):
        index = bisect.bisect_right(self.starts, place) - 1
        found = self.places[index] if index >= 0 else None
        return found if found and place < found.end else None

    def function_at(self, place):
        """The entry of the function that a place of code lies in; by the symbol before it."""
        index = bisect.bisect_right(self.functions, place) - 1
        if index < 0:
            return None
        entry = self.functions[index]
        section = self.section_at(place)
        return entry if section and section.start <= entry else None

    def names(self, entry):
        return [symbol.name for symbol in self.at.get(entry, [])]

    def name(self, entry):
        return self.names(entry)[0] if entry in self.at else f"{entry:#x}"

    def function(self, name):
        """The entry of the only function of this name."""
        found = {symbol.place for symbol in self.named.get(name, []) if symbol.function}
        return found.pop() if len(found) == 1 else None

    def is_boot(self, place):
        section = self.section_at(place)
        return bool(section and section.boot)

    def has_site(self, entry):
        return entry in self.sites or entry + 4 in self.sites

    def field(self, place, width, relative):
        """Where a field of a relocatable file leads, less what lies between it and the instruction's end."""
        section = self.section_at(place)
        for offset, _, symbol, addend in self.relocations.get(section.index, []):
            if section.start + offset == place and symbol.place is not None:
                return symbol.place + addend
        return None

    def whole(self, entry):
        """The function itself, or the one that it is the `.cold` part of."""
        for name in self.names(entry):
            if name.endswith(".cold"):
                owners = {s.place for s in self.named.get(name[:-5], []) if s.function}
                if len(owners) == 1:
                    return owners.pop()
        return entry

    def index_references(self):
        self.to = {}
        for reference in self.references:
            self.to.setdefault(reference.target, []).append(reference)

    def ways_into(self, entry):
        """Callers' entries, and every other way into a function, as words."""
        callers, others = set(), set()
        for reference in self.to.get(entry, []):
            if reference.kind == "call":
                section = self.section_at(reference.place)
                caller = self.function_at(reference.place)
                if caller is None or section.name.startswith(".altinstr"):
                    others.add(f"code in {section.name}")
                elif self.whole(caller) != self.whole(entry):
                    callers.add(self.whole(caller))
            elif reference.kind == "initcall":
                others.add("initcall")
            else:
                section = self.section_at(reference.place)
                holder = self.function_at(reference.place) if section and section.executable else None
                where = self.name(holder) if holder is not None else section.name if section else "?"
                others.add(f"{reference.kind} in {where}")
        if self.exports.intersection(self.names(entry)):
            others.add("exported")
        return callers, others

    def boot_ways(self, entry, part=False):
        """(True, chain) where only boot code reaches a function; (False, why not) else. `part`: others may call what is global."""
        seen, queue, chain = {entry}, [(entry, 0)], []
        while queue:
            here, depth = queue.pop()
            if self.is_boot(here):
                continue
            callers, others = self.ways_into(here)
            if part and any(symbol.binding != LOCAL for symbol in self.at[here]):
                others.add("global")
            initcall = "initcall" in others
            others.discard("initcall")
            if others:
                return False, f"{self.name(here)}: {', '.join(sorted(others))}"
            if not callers and not initcall:
                return False, f"nothing refers to {self.name(here)}"
            if len(seen) > 200:
                return False, "too long a chain"
            by = ["an initcall"] if initcall else []
            for caller in sorted(callers):
                by.append(self.name(caller) + (f" ({self.section_at(caller).name})" if self.is_boot(caller) else ""))
                if caller not in seen:
                    seen.add(caller)
                    queue.append((caller, depth + 1))
            chain.append(f"{self.name(here)} <- {', '.join(by)}")
        return True, "; ".join(chain)


INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")
BRANCH = re.compile(r"^(?:call|jmp|j[a-z]{1,3}|loop\w*|xbegin)q?$")
TARGET = re.compile(r"^(?:0x)?([0-9a-f]+)(?: |$)")
RELATIVE = re.compile(r"\(%rip\).*# (?:0x)?([0-9a-f]+)")
PREFIXES = {"cs", "ds", "es", "ss", "fs", "gs", "bnd", "notrack", "data16", "rex", "rex.W", "lock"}


def instructions(path, sections, linked=False):
    """(place, end, is a branch, place that it leads to or names) of every instruction; no end for a section's last one."""
    by_name = {section.name: section for section in sections if section.executable}
    command = ["objdump", "-d", "--no-show-raw-insn", "-w", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        base, before = 0, None
        for line in process.stdout:
            if line.startswith("Disassembly of section "):
                if before:
                    yield before[0], None, before[1], before[2]
                base, before = 0 if linked else by_name[line[23:-2]].start, None
                continue
            match = INSTRUCTION.match(line)
            if not match:
                continue
            place = base + int(match[1], 16)
            if before:
                yield before[0], place, before[1], before[2]
            branch, target = operation(match[2], match[3])
            before = (place, branch, None if target is None else base + target)
        if before:
            yield before[0], None, before[1], before[2]
    if process.returncode:
        raise RuntimeError(f"objdump of {path} failed")


def operation(mnemonic, operands):
    """Is it a direct branch, and what does it lead to or name?"""
    while mnemonic in PREFIXES and operands:
        mnemonic, _, operands = operands.partition(" ")
        operands = operands.lstrip()
    if BRANCH.match(mnemonic.partition(",")[0]) and not operands.startswith("*"):
        found = TARGET.match(operands)
        return True, int(found[1], 16) if found else None
    found = RELATIVE.search(operands)
    return False, int(found[1], 16) if found else None


def relocatable(path):
    """Reads an object file or a module."""
    with open(path, "rb") as file:
        data = file.read()
    sections, links, _ = elf_sections(data)
    table = next(section for section in sections if section.kind == 2)
    strings = sections[links[table.index][0]].data
    all_symbols = []
    for at in range(0, len(table.data), 24):
        name, info, _, index, value, size = struct.unpack_from("<IBBHQQ", table.data, at)
        defined = 0 < index < len(sections)
        place = index * SECTION + value if defined else None
        kind, binding = info & 15, {0: LOCAL, 1: GLOBAL, 2: WEAK}.get(info >> 4, GLOBAL)
        text = text_at(strings, name)
        if kind == 3 and defined:
            text = sections[index].name
        section = sections[index] if defined else None
        symbol = Symbol(text, place, size, binding, kind == 2 and defined, section)
        symbol.kind = kind
        all_symbols.append(symbol)
    code = Code(sections, [s for s in all_symbols if s.place is not None and s.kind in (0, 1, 2)], path)
    code.all_symbols = all_symbols
    code.undefined = {s.name for s in all_symbols if s.place is None and s.name}
    relocations = {}
    for section in sections:
        if section.kind != 4:
            continue
        of = sections[links[section.index][1]]
        for at in range(0, len(section.data), 24):
            offset, info, addend = struct.unpack_from("<QQq", section.data, at)
            relocations.setdefault(of.index, []).append((offset, info & 0xFFFFFFFF, all_symbols[info >> 32], addend))
    code.relocations = {index: sorted(some, key=lambda r: r[0]) for index, some in relocations.items()}
    code.outside = []  # (place, name, is a call) of what other objects have
    read_code(code)
    read_data(code)
    code.index_references()
    return code


def read_code(code):
    relocated = {index * SECTION + r[0]: r for index, some in code.relocations.items() for r in some
                 if code.sections[index].executable}
    order = sorted(relocated)
    for place, end, branch, target in instructions(code.path, code.sections):
        if end is None or end - place > 16:
            end = min(place + 15, code.section_at(place).end)
        first = bisect.bisect_left(order, place)
        found = False
        while first < len(order) and order[first] < end:
            at = order[first]
            _, kind, symbol, addend = relocated[at]
            relative = KINDS.get(kind, (4, False))[1]
            found, first = True, first + 1
            if symbol.place is None:
                code.outside.append((place, symbol.name, branch))
                continue
            leads = symbol.place + addend + (end - at if relative else 0)
            code.references.append(Reference(place, leads, "call" if branch else "address"))
        if not found and target is not None:
            code.references.append(Reference(place, target, "call" if branch else "address"))


def read_data(code):
    for index, some in code.relocations.items():
        section = code.sections[index]
        name = section.name
        if section.executable:
            continue
        if name == "__jump_table":
            code.switches += switches(section, some)
        for offset, _, symbol, addend in some:
            leads = symbol.place + addend if symbol.place is not None else None
            if name.startswith("__mcount_loc"):
                code.sites.add(leads)
            elif name.startswith(("__ksymtab", "___ksymtab", ".export_symbol")):
                if leads is not None and symbol.section.executable:
                    code.exports.update(code.names(leads))
            elif not section.allocated or name.startswith(TABLES) or leads is None:
                continue
            else:
                kind = "initcall" if name.startswith(INITCALLS) else "data"
                code.references.append(Reference(section.start + offset, leads, kind))


def switches(section, relocations):
    """struct jump_entry: 16 bytes, of code, target and key."""
    entries = {}
    for offset, _, symbol, addend in relocations:
        entries.setdefault(offset // 16, {})[offset % 16] = (symbol, addend)
    found = []
    for entry in entries.values():
        if 0 in entry and 8 in entry:
            (code, at), (key, _) = entry[0], entry[8]
            found.append((code.place + at if code.place is not None else None, key))
    return found
