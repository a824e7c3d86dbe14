# SPDX-License-Identifier: GPL-2.0-only
"""A prepared kernel's units: their sources, patches to them, and their objects, compiled as the build compiles them."""

import difflib
import json
import os
import re
import struct
import subprocess

import objects
from image import Image

# Put behind a function's opening brace: a nop that nothing else has, so that it is found wherever the code ends up.
NOP = bytes([0x0F, 0x1F, 0x80, 0x21, 0x4B, 0x4C, 0x50])
MARK = (' int klp_mark __attribute__((__unused__)) = ({ __asm__ __volatile__(".byte '
        + ",".join(f"0x{byte:02x}" for byte in NOP) + '"); 0; });')

NO_FUNCTIONS = {"if", "while", "for", "switch", "return", "sizeof", "typeof", "defined", "__attribute__"}
HEAD = re.compile(r"\b([A-Za-z_]\w*)\s*\(")


class Kernel:
    """`folder` is where the tool has prepared it: image, modules, source, build folder, and the build's commands."""

    def __init__(self, folder, scratch):
        self.folder, self.scratch = folder, scratch
        os.makedirs(scratch, exist_ok=True)
        with open(os.path.join(folder, "kernel.json")) as file:
            described = json.load(file)
        self.name, self.release = described["name"], described["release"]
        path = lambda key: os.path.join(folder, described[key])
        self.source, self.build = path("source"), path("build")
        self.image = Image(path("image"), scratch)
        self.files = {}
        for at, _, files in os.walk(path("modules")):
            for file in files:
                if ".ko" in file:
                    self.files[file.split(".ko")[0].replace("-", "_")] = os.path.join(at, file)
        self.modules, self.compiled, self.defined = {}, {}, {}
        self.commands = self.read_commands(path("commands"))

    @staticmethod
    def read_commands(path):
        with open(path) as file:
            stored = json.load(file)
        words, lists = stored["words"], stored["lists"]
        commands = []
        for command in stored["commands"]:
            arguments = [words[word] for word in lists[command["list"]] + command["rest"]]
            commands.append((command["source"], command["output"], command["object"], words[command["compiler"]], tuple(arguments)))
        return commands

    def running(self, name):
        """What runs: the image or a module."""
        if name == "vmlinux":
            return self.image
        if name not in self.modules:
            self.modules[name] = objects.relocatable(self.file(name))
        return self.modules[name]

    def file(self, module):
        """A module's file as the kernel takes it."""
        path = self.files[module]
        if path.endswith(".ko"):
            return path
        program = {"xz": "xz", "zst": "zstd", "gz": "gzip"}[path.rsplit(".", 1)[1]]
        unpacked = os.path.join(self.scratch, module + ".ko")
        if not os.path.exists(unpacked):
            with open(unpacked, "wb") as file:
                subprocess.run([program, "-dc", path], stdout=file, check=True)
        return unpacked

    def names(self):
        """All symbols of the image and of the modules."""
        names = set(self.image.named)
        for module in self.files:
            with open(self.file(module), "rb") as file:
                sections, _, _ = objects.elf_sections(file.read())
            tables = {section.name: section.data for section in sections}
            # Strings share their ends, so the table of strings alone doesn't tell.
            for at in range(0, len(tables[".symtab"]), 24):
                (name,) = struct.unpack_from("<I", tables[".symtab"], at)
                names.add(objects.text_at(tables[".strtab"], name))
        return names

    def text(self, source):
        with open(os.path.join(self.source, source), encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def definitions(self):
        """Name to the units whose source may define such a function: lines that begin at the margin tell."""
        if self.defined:
            return self.defined
        found = self.defined
        for command in self.commands:
            source = command[0]
            if not os.path.isfile(os.path.join(self.source, source)):
                continue
            for line in self.text(source).splitlines():
                if line[:1].isalpha() or line[:1] == "_":
                    match = HEAD.search(line)
                    if match and not line.rstrip().endswith(";"):
                        found.setdefault(match[1], []).append(command)
        return found

    def unit(self, command):
        key = command[1:3]
        if key not in self.compiled:
            self.compiled[key] = Unit(self, command)
        return self.compiled[key]

    def unit_of(self, output, name):
        for command in self.commands:
            if command[1:3] == (output, name):
                return self.unit(command)
        return None


class Unit:
    """One compiled source. The build folder is only read; objects come to the scratch folder."""

    def __init__(self, kernel, command):
        self.kernel = kernel
        self.source, self.output, self.object, self.compiler, self.arguments = command
        self.source = os.path.normpath(self.source)
        self.running = kernel.running(self.object)
        self.before = self.compile(os.path.join(kernel.source, self.source), "before")
        self.bases = self.layout()

    def compile(self, source, what, flags=()):
        out = os.path.join(self.kernel.scratch, self.output.replace("/", "-") + f".{what}.o")
        folder = os.path.dirname(os.path.join(self.kernel.source, self.source))
        command = [self.compiler, *self.arguments, *flags, "-iquote", folder, "-w", "-g0", "-c", "-o", out, source]
        done = subprocess.run(command, cwd=self.kernel.build, stderr=subprocess.PIPE, text=True, errors="replace")
        if done.returncode:
            raise RuntimeError(f"{self.source} doesn't compile: {done.stderr[-400:]}")
        code = objects.relocatable(out)
        return code

    def patch(self, function):
        """The file with the mark at a function's entry, and that as a unified diff; nothing where the head isn't plain."""
        return marked(self.kernel.text(self.source), self.source, function)

    def marked(self, new):
        """The object with the mark."""
        folder = os.path.join(self.kernel.scratch, "marked", self.output.replace("/", "-"))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, os.path.basename(self.source))
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(new)
        return self.compile(path, "after")

    # Where the unit lies in what runs.

    def layout(self):
        """For each section of code, the only distance that all of its own names agree on."""
        bases = {}
        for section in self.before.sections:
            if not section.executable or not section.allocated:
                continue
            own = [s for s in self.before.symbols if s.section is section and s.function and s.binding != objects.WEAK]
            possible = None
            for symbol in own:
                places = {s.place - symbol.place for s in self.running.named.get(symbol.name, []) if s.function}
                possible = places if possible is None else possible & places
            if not own or len(possible) != 1:
                possible = {base for base in self.likely(section, possible) if self.equal(section, base)}
            if len(possible) == 1:
                bases[section.index] = possible.pop()
        return bases

    def likely(self, section, possible):
        """Distances where the names don't tell, to be told by the code."""
        if possible:
            return possible
        votes = {}
        for symbol in self.before.symbols:
            if symbol.section is section and symbol.function:
                for other in self.running.named.get(symbol.name, []):
                    votes[other.place - symbol.place] = votes.get(other.place - symbol.place, 0) + 1
        return votes

    def equal(self, section, base):
        """Does what runs have this code there? Fields that are relocated, and switched places, may differ."""
        return not self.differs(section, base, section.start, section.end)

    def differs(self, section, base, start, end):
        code = section.data[start - section.start:end - section.start]
        there = self.running.section_at(start + base)
        if there is None or len(there.data) < start + base - there.start + len(code):
            return True
        at = start + base - there.start
        other = bytearray(there.data[at:at + len(code)])
        fields = [(offset, objects.KINDS.get(kind, (4, False))[0])
                  for offset, kind, _, _ in self.before.relocations.get(section.index, [])]
        fields += [(place - section.start, 5) for place, _ in self.before.switches
                   if place is not None and section.start <= place < section.end]
        mine = bytearray(code)
        for offset, width in fields:
            offset -= start - section.start
            for byte in range(max(offset, 0), min(offset + width, len(mine))):
                mine[byte] = other[byte] = 0
        return mine != other

    def place(self, entry):
        """Where the running kernel has a place of the unit's code."""
        section = self.before.section_at(entry)
        base = self.bases.get(section.index)
        return None if base is None else entry + base

    def end(self, entry):
        sizes = [symbol.size for symbol in self.before.at[entry]]
        return entry + max(sizes)

    def led(self, symbol):
        """Where the running code's fields lead that this unit has for a symbol."""
        places = set()
        for index, base in self.bases.items():
            section = self.before.sections[index]
            for offset, kind, other, addend in self.before.relocations.get(index, []):
                # A distance counts from the instruction's end, which mostly is the field's.
                width, relative = objects.KINDS.get(kind, (4, False))
                behind = width if relative else 0
                if other.place is not None and other.place + addend + behind == symbol.place:
                    field = self.running.field(section.start + offset + base, width, relative)
                    if field is not None:
                        places.add(field + behind)
        return places

    def has(self, place):
        """Is a place of the running code this unit's?"""
        for index, base in self.bases.items():
            section = self.before.sections[index]
            if section.start + base <= place < section.end + base:
                return True
        return False

    def holders(self, after):
        """The functions of the original that get the mark."""
        names = set()
        for section in after.sections:
            if not section.executable or not section.allocated:
                continue
            at = section.data.find(NOP)
            while at >= 0:
                holder = after.function_at(section.start + at)
                if holder is not None:
                    names.update(after.names(after.whole(holder)))
                at = section.data.find(NOP, at + 1)
        return names


def marked(old, source, function):
    at = entry(old, function)
    if at is None:
        return None
    new = old[:at] + MARK + old[at:]
    lines = [text.splitlines(keepends=True) for text in (old, new)]
    return new, "".join(difflib.unified_diff(*lines, f"a/{source}", f"b/{source}"))


def entry(text, function):
    """Behind the brace that opens a function's body."""
    for match in re.finditer(rf"^(?:[A-Za-z_][^;{{}}#\n]*\b)?{re.escape(function)}\s*\(", text, re.M):
        depth, at = 0, match.end() - 1
        while at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break
        rest = re.match(r"(?:\s|/\*.*?\*/|__\w+(?:\([\w.\", ]*\))?)*\{", text[at:], re.S)
        head = text[match.start():at]
        if rest and "#" not in head and not head.startswith(("#", "return", "else")):
            return at + rest.end()
    return None
