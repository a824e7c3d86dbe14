//! The oracle's own generator: C as kernel developers write it and csmith doesn't. A program is made of pieces
//! ([`pieces`]), each with its macros, types, data and functions; functions have the type `u32 (u32, u32)` and call those
//! of earlier pieces. Arithmetic is unsigned and indices are masked, so that no change of a constant is undefined.

mod pieces;
mod statements;

use crate::program::{MAIN, Program};
use crate::random::Random;

/// The header beside the source.
const HEADER: &str = "own.h";

/// A function that others may call.
#[derive(Clone)]
pub struct Callable {
    pub name: String,
    /// About how many statements a call runs.
    pub cost: usize,
}

/// A program under construction.
pub struct Writer {
    pub random: Random,
    pub header: String,
    pub source: String,
    pub callables: Vec<Callable>,
    /// Unsigned variables and function-like macros of two arguments that statements may use.
    pub variables: Vec<String>,
    pub tables: Vec<String>,
    pub macros: Vec<String>,
    /// Lines for `main` that run pieces of another type.
    pub calls: Vec<String>,
    number: usize,
}

/// The most that one call may run.
const COST: usize = 3000;

impl Writer {
    /// A number that no other name has.
    pub fn number(&mut self) -> usize {
        self.number += 1;
        self.number
    }

    pub fn constant(&mut self) -> String {
        match self.random.below(4) {
            0 => format!("{}u", self.random.below(9) + 1),
            1 => format!("{:#x}u", self.random.next() as u32),
            _ => format!("{}u", self.random.below(250) + 3),
        }
    }

    /// An earlier function that may be called `times` times without running for long, with its cost.
    pub fn callee(&mut self, times: usize, budget: usize) -> Option<Callable> {
        let fitting: Vec<Callable> = self.callables.iter().filter(|c| c.cost * times <= budget).cloned().collect();
        if fitting.is_empty() { None } else { Some(self.random.pick(&fitting).clone()) }
    }

    /// A function of the usual type; `before` is its storage class and attributes.
    pub fn function(&mut self, before: &str, name: &str, size: usize) {
        let (body, cost) = self.body(size);
        self.source.push_str(&format!("{before}u32 {name}(u32 a, u32 b)\n{{\n{body}}}\n\n"));
        self.callables.push(Callable { name: name.into(), cost });
    }

    /// Statements from declarations to `return`, and what they cost.
    pub fn body(&mut self, size: usize) -> (String, usize) {
        let (start, other) = (self.constant(), self.constant());
        let mut body = format!("    u32 x = a + {start};\n    u32 y = b ^ {other};\n    u32 i;\n");
        let mut cost = 4;
        for _ in 0..size {
            let (text, more) = statements::statement(self, 1, 1, COST.saturating_sub(cost));
            body.push_str(&text);
            cost += more;
        }
        body.push_str("    i = x;\n    return i ^ y;\n");
        (body, cost)
    }
}

const TOP: &str = "\
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include \"own.h\"

#define noinline __attribute__((__noinline__))
#define noclone __attribute__((__noinline__, __noclone__))
#define cold __attribute__((__cold__))
#define hot __attribute__((__hot__))
#define maybe_unused __attribute__((__unused__))
#define always inline __attribute__((__always_inline__))
#define weak __attribute__((__weak__))

";

const HEADER_TOP: &str = "\
#ifndef OWN_H
#define OWN_H

#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;

static u32 total = 1;

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(pointer, type, member) ({ \\
\tvoid *__pointer = (void *)(pointer); \\
\t(type *)((char *)__pointer - offsetof(type, member)); })

";

/// The program of a seed, another one for each attempt.
pub fn program(seed: u64, attempt: u32) -> Option<Program> {
    let mut writer = Writer {
        random: Random::new(seed, &format!("own {attempt}")),
        header: HEADER_TOP.into(),
        source: TOP.into(),
        callables: Vec::new(),
        variables: vec!["total".into()],
        tables: Vec::new(),
        macros: Vec::new(),
        calls: Vec::new(),
        number: 0,
    };
    let count = writer.random.between(6, 14);
    for _ in 0..count {
        let piece = *writer.random.pick(pieces::PIECES);
        piece(&mut writer);
    }
    writer.function("static ", "last", 3);
    finish(&mut writer);
    writer.header.push_str("#endif\n");
    let jump_tables = writer.random.chance(30);
    Some(Program {
        files: [(MAIN.to_string(), writer.source), (HEADER.to_string(), writer.header)].into(),
        changeable: vec![MAIN.into(), MAIN.into(), MAIN.into(), HEADER.into()],
        mark: "total",
        calls_later: false,
        flags: if jump_tables { &["-fjump-tables"] } else { &[] },
    })
}

fn finish(writer: &mut Writer) {
    let mut main = String::from("int main(void)\n{\n    u32 i;\n    for (i = 0; i < 5; i++)\n    {\n");
    let callables = writer.callables.clone();
    // Most functions are only reached through others.
    for callable in callables.iter().rev().take(1 + callables.len() / 2) {
        if writer.random.chance(70) {
            let constant = writer.constant();
            main.push_str(&format!("        total = total * 31u + {}(i, {constant});\n", callable.name));
        }
    }
    main.push_str("        total = total * 31u + last(i, total);\n    }\n");
    for call in &writer.calls {
        main.push_str(&format!("    {call}\n"));
    }
    main.push_str("    printf(\"%08x\\n\", total);\n    return 0;\n}\n");
    writer.source.push_str(&main);
}
