# SPDX-License-Identifier: GPL-2.0-only
"""The running kernel's image, read out of vmlinuz: code, symbols, and who refers to what.

The image has no symbol table and no relocations of the ordinary kind; it has kallsyms, and behind the ELF file the list of
places that KASLR moves (arch/x86/tools/relocs.c), which are all places that hold an absolute address.
"""

import os
import pickle
import struct
import subprocess

import objects
from objects import Code, Reference, Symbol

# Tables whose entries name functions without being a way into them, and what is called once at boot.
BOUNDS = [("__start_mcount_loc", "__stop_mcount_loc"), ("__start_kprobe_blacklist", "__stop_kprobe_blacklist"),
          ("__start_error_injection_whitelist", "__stop_error_injection_whitelist"), ("__bug_table", "__stop___bug_table"),
          ("__parainstructions", "__parainstructions_end"), ("__start_static_call_sites", "__stop_static_call_sites"),
          ("__start_orc_unwind_ip", "__stop_orc_unwind")]


def unpacked(vmlinuz):
    """The ELF file and what follows it (Documentation/x86/boot.rst)."""
    with open(vmlinuz, "rb") as file:
        data = file.read()
    if data[:4] == b"\x7fELF":
        return data
    start = (data[0x1F1] + 1) * 512 + struct.unpack_from("<I", data, 0x248)[0]
    (length,) = struct.unpack_from("<I", data, 0x24C)
    payload = data[start:start + length - 4]
    programs = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b\x08\x00": "gzip", b"\xfd7zX": "xz"}
    program = programs[payload[:4]]
    return subprocess.run([program, "-dc"], input=payload, stdout=subprocess.PIPE, check=True).stdout


class Image(Code):
    def __init__(self, vmlinuz, scratch):
        data = unpacked(vmlinuz)
        self.file = os.path.join(scratch, "vmlinux")
        with open(self.file, "wb") as file:
            file.write(data)
        sections, _, _ = objects.elf_sections(data)
        super().__init__(sections, [], self.file)
        symbols = self.kallsyms()
        super().__init__(sections, symbols, self.file)
        self.absolute = self.moved(data)
        self.read_tables()
        self.references = self.cached(os.path.join(scratch, "references.pickle"))
        self.index_references()

    # Memory.

    def bytes_at(self, place, size):
        section = self.section_at(place)
        if section is None or not section.data:
            return None
        return section.data[place - section.start:place - section.start + size]

    def number(self, place, form="<Q"):
        return struct.unpack(form, self.bytes_at(place, struct.calcsize(form)))[0]

    def field(self, place, width, relative):
        value = self.number(place, "<q" if width == 8 else "<i")
        return (value + place if relative else value) & 0xFFFFFFFFFFFFFFFF

    # Symbols.

    def kallsyms(self):
        """kernel/kallsyms.c, scripts/kallsyms.c. Found by the tokens of the ten digits, which stand for themselves."""
        digits = b"".join(b"%d\0" % digit for digit in range(10))
        for section in self.places:
            at = section.data.find(digits)
            while at >= 0:
                found = self.tables_at(section, at)
                if found:
                    return found
                at = section.data.find(digits, at + 1)
        raise RuntimeError("the image has no kallsyms that can be read")

    def tables_at(self, section, digits):
        data = section.data
        # The token table: 48 more tokens lie before those of the digits.
        at = digits
        for _ in range(ord("0")):
            at = data.rfind(b"\0", 0, at - 1) + 1
        # The first token has no end before it but padding.
        tokens, ends, place = [], [], at
        for _ in range(256):
            end = data.index(b"\0", place)
            ends.append(place - at)
            tokens.append(data[place:end])
            place = end + 1
        index = (place + 7) & ~7
        if list(struct.unpack_from("<256H", data, index)) != ends:
            # Padding before the table looks like empty tokens.
            for shift in range(1, 8):
                if ends[0] == 0 and list(struct.unpack_from("<256H", data, index))[1:] == [e - shift for e in ends[1:]]:
                    tokens[0], at = tokens[0][shift:], at + shift
                    break
            else:
                return None
        return self.names_before(data, at, index + 512, tokens)

    def names_before(self, data, table, behind, tokens):
        """The count of symbols, and their names: the place where so many can be read that all have a kind."""
        letters = {token[:1] for token in tokens}.intersection(bytes([b]) for b in b"AaBbDdRrTtVvWw")
        first = [token[:1] in letters for token in tokens]
        for number in range((table & ~7) - 8, 16, -8):
            (count,) = struct.unpack_from("<I", data, number)
            if 1000 < count < 1 << 22 and (data[number + 8] and first[data[number + 9]]):
                raw = self.names_at(data, number + 8, count, table, first)
                if raw:
                    names = [b"".join(tokens[byte] for byte in name).decode() for name in raw]
                    return self.placed(data, names, number, behind)
        return None

    @staticmethod
    def names_at(data, start, count, end, first):
        at, names, marks = start, [], []
        for index in range(count):
            if index % 256 == 0:
                marks.append(at - start)
            length = data[at]
            at += 1
            if length & 0x80:
                length = length & 0x7F | data[at] << 7
                at += 1
            if not length or at + length > end or not first[data[at]]:
                return None
            names.append(data[at:at + length])
            at += length
        # kallsyms_markers follow, since 6.4 with something in between.
        return names if struct.pack("<3I", *marks[:3]) in data[at:end] else None

    def placed(self, data, names, number, behind):
        count = len(names)
        room = (4 * count + 7) & ~7
        before, after = number - 8 - room, behind + room
        text = min(section.start for section in self.places if section.name == ".text")
        for offsets, base in ((before, number - 8), (behind, after)):
            (relative,) = struct.unpack_from("<Q", data, base)
            if relative == text or relative >> 32 == 0xFFFFFFFF:
                break
        else:
            return None
        symbols = []
        for name, offset in zip(names, struct.unpack_from(f"<{count}i", data, offsets)):
            place = offset if offset >= 0 else relative - 1 - offset
            section = self.section_at(place)
            letter = name[0]
            function = letter in "tTwW" and bool(section and section.executable)
            binding = objects.WEAK if letter in "wWvV" else objects.GLOBAL if letter.isupper() else objects.LOCAL
            symbols.append(Symbol(name[1:], place, 0, binding, function, section))
        return symbols

    # References.

    def moved(self, data):
        """Places with an absolute address: misc.c, handle_relocations()."""
        end = len(data)
        places = set()
        for step in range(3):
            while True:
                end -= 4
                (value,) = struct.unpack_from("<i", data, end)
                if value == 0:
                    break
                if step != 1:
                    places.add((value & 0xFFFFFFFFFFFFFFFF, 8 if step == 2 else 4))
        return places

    def bound(self, name):
        found = self.named.get(name)
        return found[0].place if found else None

    def read_tables(self):
        start, stop = self.bound("__start_mcount_loc"), self.bound("__stop_mcount_loc")
        table = self.bytes_at(start, stop - start)
        self.sites = set(struct.unpack(f"<{len(table) // 8}Q", table))
        for name in self.named:
            if name.startswith("__ksymtab_"):
                self.exports.add(name[len("__ksymtab_"):])
        start, stop = self.bound("__start___jump_table"), self.bound("__stop___jump_table")
        for at in range(start, stop, 16):
            code, _, key = struct.unpack("<iiq", self.bytes_at(at, 16))
            self.switches.append((at + code, (at + 8 + key) & ~3 & 0xFFFFFFFFFFFFFFFF))

    def cached(self, path):
        """Reading all code takes a minute or two."""
        if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(objects.__file__):
            with open(path, "rb") as file:
                return [Reference(*each) for each in pickle.load(file)]
        found = self.all_references()
        with open(path + ".new", "wb") as file:
            pickle.dump([(r.place, r.target, r.kind) for r in found], file)
        os.rename(path + ".new", path)
        return found

    def all_references(self):
        entries = set(self.functions)
        found = []
        absolute = sorted(self.absolute)
        widths, order = dict(absolute), [place for place, _ in absolute]
        tables = [(self.bound(a), self.bound(b)) for a, b in BOUNDS if self.bound(a) and self.bound(b)]
        for place, end, branch, target in objects.instructions(self.file, self.sections, linked=True):
            if target in entries:
                found.append(Reference(place, target, "call" if branch else "address"))
        for place in order:
            if any(start <= place < stop for start, stop in tables):
                continue
            section = self.section_at(place)
            if section is None or not section.data:
                continue
            form = "<Q" if widths[place] == 8 else "<i"
            target = self.number(place, form) & 0xFFFFFFFFFFFFFFFF
            if target in entries:
                kind = "address" if section.executable else "data"
                found.append(Reference(place, target, kind))
        start, stop = self.bound("__initcall_start"), self.bound("__initcall_end")
        for start, stop in ((start, stop), (self.bound("__con_initcall_start"), self.bound("__con_initcall_end"))):
            for at in range(start or 0, stop or 0, 4):
                found.append(Reference(at, at + self.number(at, "<i"), "initcall"))
        return found
