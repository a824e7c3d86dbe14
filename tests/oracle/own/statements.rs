//! Statements over the unsigned locals `x`, `y`, `i` and the parameters `a`, `b`.

use super::Writer;

fn indent(depth: usize) -> String {
    "    ".repeat(depth)
}

fn operand(writer: &mut Writer) -> String {
    match writer.random.below(6) {
        0 => "a".into(),
        1 => "b".into(),
        2 => "y".into(),
        3 => writer.constant(),
        4 => {
            let variables = writer.variables.clone();
            writer.random.pick(&variables).clone()
        }
        _ => "x".into(),
    }
}

/// An expression of type u32 without side effects but those of macros.
pub fn expression(writer: &mut Writer) -> String {
    let (one, other, constant) = (operand(writer), operand(writer), writer.constant());
    let tables = writer.tables.clone();
    let macros = writer.macros.clone();
    match writer.random.below(12) {
        0 => format!("{one} * {constant}"),
        1 => format!("({one} ^ {other})"),
        2 => format!("({one} >> ({other} & 15u))"),
        3 => format!("({one} > {other} ? {constant} : {one})"),
        4 | 5 if !tables.is_empty() => format!("{}[{one} & 3u]", writer.random.pick(&tables)),
        6 | 7 if !macros.is_empty() => format!("{}({one}, {other})", writer.random.pick(&macros)),
        8 => format!("({{ typeof({one}) t = {one} + {constant}; t * 3u; }})"),
        9 => format!("({{ __auto_type t = {one}; t ^ {constant}; }})"),
        10 => format!("({one} / ({other} | 1u))"),
        _ => format!("{one} + {other}"),
    }
}

/// Lines at a depth of blocks that run `times` times, and their cost.
pub fn statement(writer: &mut Writer, depth: usize, times: usize, budget: usize) -> (String, usize) {
    let pad = indent(depth);
    let value = expression(writer);
    let constant = writer.constant();
    let plain = |text: String| (format!("{pad}{text}\n"), times);
    match writer.random.below(16) {
        0 | 1 => plain(format!("x += {value};")),
        2 => plain(format!("y ^= {value};")),
        3 => plain(format!("x = (x << 3) ^ {value};")),
        4..=7 => match writer.callee(times, budget.saturating_sub(times)) {
            Some(callee) => {
                let second = if writer.random.chance(40) { constant } else { value };
                let target = if writer.random.chance(70) { "x +=" } else { "y = y ^" };
                let text = format!("{pad}{target} {}(x & 255u, {second});\n", callee.name);
                (text, times * (callee.cost + 1))
            }
            None => plain(format!("x -= {value};")),
        },
        8 if depth < 3 => branch(writer, depth, times, budget, &format!("if ({value} & 4u)")),
        9 if depth < 3 => branch(writer, depth, times, budget, "if (unlikely((x & 31u) == 7u))"),
        10 if depth == 1 => branch(writer, depth, times * 4, budget, "for (i = 0; i < 4; i++)"),
        11 if depth < 3 => choice(writer, depth, times),
        12 => {
            let variables = writer.variables.clone();
            let variable = writer.random.pick(&variables);
            plain(format!("{variable} += {value};"))
        }
        13 => plain("asm(\"addl $3, %0\" : \"+r\"(x));".into()),
        14 if depth < 3 => early(writer, depth, times),
        _ => plain(format!("x = x * 5u + {value};")),
    }
}

fn branch(writer: &mut Writer, depth: usize, times: usize, budget: usize, head: &str) -> (String, usize) {
    let pad = indent(depth);
    let mut text = format!("{pad}{head}\n{pad}{{\n");
    let mut cost = times;
    for _ in 0..writer.random.between(1, 3) {
        let (line, more) = statement(writer, depth + 1, times, budget.saturating_sub(cost));
        text.push_str(&line);
        cost += more;
    }
    text.push_str(&format!("{pad}}}\n"));
    if head.starts_with("if") && writer.random.chance(40) {
        let (line, more) = statement(writer, depth + 1, times, budget.saturating_sub(cost));
        text.push_str(&format!("{pad}else\n{pad}{{\n{line}{pad}}}\n"));
        cost += more;
    }
    (text, cost)
}

fn choice(writer: &mut Writer, depth: usize, times: usize) -> (String, usize) {
    let pad = indent(depth);
    let cases = writer.random.between(3, 8);
    let mut text = format!("{pad}switch (x & 7u)\n{pad}{{\n");
    let constants_only = writer.random.chance(60);
    for case in 0..cases {
        let value = if constants_only { writer.constant() } else { expression(writer) };
        text.push_str(&format!("{pad}case {case}:\n{pad}    y = {value};\n{pad}    break;\n"));
    }
    text.push_str(&format!("{pad}default:\n{pad}    y += 2u;\n{pad}}}\n"));
    (text, times * 2)
}

fn early(writer: &mut Writer, depth: usize, times: usize) -> (String, usize) {
    let pad = indent(depth);
    let value = expression(writer);
    (format!("{pad}if ((y & 15u) == 3u)\n{pad}{{\n{pad}    return {value};\n{pad}}}\n"), times)
}
