# SPDX-License-Identifier: GPL-2.0-only
"""What object facts say of a change at a function's entry: can a livepatch replace somebody who has it?

Facts are of the unit's own object, compiled anew with and without the mark, and of the image or module that runs.
"""

import objects

INIT, WEAK, SITE, AMBIGUOUS, FOLDED = "init-only", "weak-overridden", "no-ftrace-site", "ambiguous-symbol", "folded-function"
SAME = "nothing-changed"
FINE = "can be replaced"


class Verdict:
    """`expected` is the refusal's id, or FINE, or nothing where the facts don't tell; `facts` are lines for people. `cautious`:
    the facts would let somebody be replaced, but a tool that looks at one unit can't know."""

    def __init__(self, expected, facts, cautious=()):
        self.expected, self.facts, self.cautious = expected, facts, set(cautious)


class Judge:
    def __init__(self, unit, function):
        self.unit, self.function, self.facts = unit, function, []
        self.outcomes, self.cautious, self.seen = set(), set(), set()

    def say(self, text):
        if text not in self.facts:
            self.facts.append(text)

    def verdict(self, after):
        before, unit = self.unit.before, self.unit
        holders = unit.holders(after)
        holders |= self.inlined(holders, after)
        places = {before.function(name) for name in holders} - {None}
        if not holders and self.same(after):
            return Verdict(SAME, ["with the mark, the object is the same to the byte"])
        if not holders:
            return Verdict(None, ["the mark is nowhere in the object: the function has no code"])
        if holders != {self.function}:
            self.say(f"the mark is in {', '.join(sorted(holders))}")
        if not places:
            return Verdict(None, self.facts + ["no function of the original has the mark's place"])
        for entry in sorted(places):
            self.follow(entry)
            self.folded(entry, after)
        for outcome in (WEAK, AMBIGUOUS, SITE, FOLDED):
            if outcome in self.outcomes:
                return Verdict(outcome, self.facts, self.cautious)
        if None in self.outcomes:
            return Verdict(None, self.facts, self.cautious)
        return Verdict(FINE if FINE in self.outcomes else INIT, self.facts, self.cautious)

    def inlined(self, holders, after):
        """Those that call the function only with the mark: the original has its code, which the mark makes too large."""
        found = set()
        for name in holders:
            callers = [{code.name(caller) for caller in code.ways_into(entry)[0]} if (entry := code.function(name)) else set()
                       for code in (self.unit.before, after)]
            found |= callers[1] - callers[0]
        return found

    def same(self, after):
        contents = [[(s.name, s.data) for s in code.sections if s.allocated] for code in (self.unit.before, after)]
        return contents[0] == contents[1] and not self.unit.before.named.get(self.function)

    def follow(self, entry):
        """Up from a function of the unit's object to those that can be replaced."""
        if entry in self.seen:
            return
        self.seen.add(entry)
        before, running, unit = self.unit.before, self.unit.running, self.unit
        symbols = before.at[entry]
        name = symbols[0].name
        section = before.section_at(entry).name
        if before.is_boot(entry):
            self.say(f"{name} is in {section}")
            return self.outcomes.add(INIT)
        if any(symbol.binding == objects.WEAK for symbol in symbols) and self.overridden(entry):
            return self.outcomes.add(WEAK)
        place = unit.place(entry)
        if place is None:
            others = [s for s in running.named.get(name, []) if s.function]
            own = {s.place for s in before.named.get(name, []) if s.function}
            if len(others) > 1:
                self.say(f"{len(others)} functions {name} run, and neither names nor code tell which is this unit's {section}")
                return self.outcomes.add(AMBIGUOUS)
            if len(others) != 1 or len(own) != 1:
                self.say(f"{name} can't be found in what runs")
                return self.outcomes.add(None)
            place = others[0].place
        boot, chain = running.boot_ways(place) if place in running.at else (False, "")
        if boot:
            self.say(f"only boot, load or unload code reaches it: {chain}")
            if unit.object != "vmlinux" and not before.boot_ways(entry, part=True)[0]:
                # A livepatch is there before a module's load code runs, and when its unload code does; no fault is made.
                self.cautious.add(INIT)
                return self.outcomes.add(FINE)
            return self.outcomes.add(INIT)
        site = running.has_site(place)
        if site and "." not in name:
            if not unit.differs(before.section_at(entry), place - entry, entry, unit.end(entry)):
                self.say(f"{name} has an ftrace site at {place:#x}, where the code is this unit's")
                return self.outcomes.add(FINE)
            self.say(f"{name} at {place:#x} has other code than this unit's")
            return self.outcomes.add(None)
        why = "a clone made by GCC" if "." in name else f"no ftrace site at {place:#x} ({section})"
        callers, others = running.ways_into(place)
        outside = {caller for caller in callers if not unit.has(caller)}
        if others or outside:
            ways = sorted(others) + sorted(f"call by {running.name(caller)}, not of this unit" for caller in outside)
            self.say(f"{name}: {why}; ways in: {'; '.join(ways[:4])}" + (" ..." if len(ways) > 4 else ""))
            return self.outcomes.add(SITE)
        inner = {caller: self.own(caller) for caller in callers}
        if not callers or None in inner.values():
            self.say(f"{name}: {why}; {'a caller that the object lacks' if callers else 'nothing refers to it'}")
            return self.outcomes.add(None)
        self.say(f"{name}: {why}; called by {', '.join(running.name(caller) for caller in sorted(callers))}")
        if any(symbol.binding != objects.LOCAL for symbol in symbols):
            self.cautious.add(SITE)
        for caller in inner.values():
            self.follow(caller)

    def own(self, place):
        """The unit's function that runs at a place."""
        for index, base in self.unit.bases.items():
            entry = place - base
            section = self.unit.before.sections[index]
            if section.start <= entry < section.end:
                return entry if entry in self.unit.before.at else None
        return None

    def overridden(self, entry):
        """Is the running symbol of a weak function another object's?"""
        unit, running = self.unit, self.unit.running
        name = next(symbol.name for symbol in unit.before.at[entry] if symbol.binding == objects.WEAK)
        named = [symbol for symbol in running.named.get(name, []) if symbol.function]
        place = unit.place(entry)
        if place is None or len(named) != 1 or named[0].place == place:
            return False
        section = unit.before.section_at(entry)
        same = not unit.differs(section, place - entry, entry, unit.end(entry))
        nobody = "no symbol" if place not in running.at else "symbol " + running.name(place)
        self.say(f"{name} is weak in {unit.output}; the running {name} ({named[0].binding}) is at {named[0].place:#x}, the "
                 f"unit's own would be at {place:#x}, where {'its code' if same else 'other code'} lies with {nobody}")
        return True

    def folded(self, entry, after):
        """Two names of one function that are two once one of them changes."""
        names = self.unit.before.names(entry)
        if self.function in names:
            for other in names:
                apart = after.function(other) is not None and after.function(other) != after.function(self.function)
                if other != self.function and apart:
                    self.say(f"{self.function} and {other} are one function, and two with the mark")
                    self.outcomes.add(FOLDED)


def judge(unit, function):
    """The verdict and the patch."""
    made = unit.patch(function)
    if made is None:
        return Verdict(None, ["the function's head isn't plain text"]), None
    new, patch = made
    return Judge(unit, function).verdict(unit.marked(new)), patch
