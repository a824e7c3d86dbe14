//! How much a unit's macros may take.

use super::Expander;

/// More tokens than this made by the macros of one unit are a macro bomb; the largest unit of the kernel has about 5 million.
pub(super) const TOKEN_BUDGET: u64 = 16 << 20;

/// Tokens that are looked at or copied on the way, and bytes that `#` and `##` make: names that double are bombs too.
pub(super) const WORK_BUDGET: u64 = 1 << 30;

/// Tokens of arguments that may be under way: of an invocation in an argument of another one there are two copies.
pub(super) const HELD: u64 = 2 << 20;

/// What a byte of text counts that `#` and `##` make: it stays in memory.
pub(super) const BYTE_WORK: usize = 8;

/// Invocations in arguments of invocations: each takes a few hundred bytes of stack. Those of the kernel nest a few dozen deep.
pub(super) const NESTING: u32 = 400;

/// Macros whose bodies name one another: each token of the last knows all of them. Those of the kernel go a few dozen deep.
pub(super) const CHAIN: usize = 4096;

impl Expander {
    /// Ends the expansion where a limit is reached.
    pub(super) fn exhaust(&mut self, problem: String) {
        self.exhausted = true;
        self.problem.get_or_insert(problem);
    }

    pub(super) fn spend(&mut self, work: usize) {
        self.work = self.work.saturating_sub(work as u64);
        if self.work == 0 {
            self.exhaust(format!("to expand its macros takes more than {WORK_BUDGET} steps"));
        }
    }
}
