//! The pieces that programs are made of.

use super::statements::expression;
use super::{Callable, Writer};

pub type Piece = fn(&mut Writer);

/// All pieces; those that programs need most are there more than once.
pub const PIECES: &[Piece] = &[
    plain,
    plain,
    plain,
    plain,
    attributes,
    attributes,
    variables,
    variables,
    tables,
    object_macros,
    macros_of_statics,
    variadic_macro,
    pasting,
    redefined,
    late_macro,
    stringised,
    conditional,
    pointer_table,
    pointer_table,
    mutable_table,
    records,
    bit_fields,
    unions,
    enums,
    cycles,
    static_local,
    several_declarators,
    forward,
    recursion,
    mutual_recursion,
    scalar_replacement,
    scalar_replacement,
    constant_argument,
    constant_argument,
    split,
    folded,
    alias,
    weak_function,
    computed_goto,
    header_inline,
    header_inline,
    strings,
    system_headers,
    callbacks,
    made_by_macro,
    checked,
];

fn storage(writer: &mut Writer) -> &'static str {
    const CLASSES: &[&str] = &["static ", "static ", "static ", "static ", "", "static inline "];
    CLASSES[writer.random.below(CLASSES.len())]
}

fn size(writer: &mut Writer) -> usize {
    writer.random.between(1, 6)
}

fn plain(writer: &mut Writer) {
    let name = format!("plain_{}", writer.number());
    let (storage, size) = (storage(writer), size(writer));
    writer.function(storage, &name, size);
}

fn attributes(writer: &mut Writer) {
    const WORDS: &[&str] = &["noinline ", "noclone ", "cold ", "hot ", "always ", "noinline cold ", "maybe_unused "];
    let name = format!("marked_{}", writer.number());
    let word = *writer.random.pick(WORDS);
    let size = size(writer);
    writer.function(&format!("static {word}"), &name, size);
}

fn variables(writer: &mut Writer) {
    let name = format!("state_{}", writer.number());
    let storage = *writer.random.pick(&["static ", "static ", "", "static volatile "]);
    let value = writer.constant();
    let value = if writer.random.chance(70) { format!(" = {value}") } else { String::new() };
    writer.source.push_str(&format!("{storage}u32 {name}{value};\n\n"));
    writer.variables.push(name);
}

fn tables(writer: &mut Writer) {
    let name = format!("table_{}", writer.number());
    let values: Vec<String> = (0..4).map(|_| writer.constant()).collect();
    let kind = *writer.random.pick(&["static const u32", "static const u32", "static u32", "const u32", "u32"]);
    writer.source.push_str(&format!("{kind} {name}[4] = {{ {} }};\n\n", values.join(", ")));
    writer.tables.push(name);
}

fn object_macros(writer: &mut Writer) {
    let number = writer.number();
    let (one, other) = (writer.constant(), writer.constant());
    writer.source.push_str(&format!(
        "#define LOW_{number} {one}\n#define HIGH_{number} (LOW_{number} * {other})\n\
         #define MIX_{number}(p, q) (((p) + HIGH_{number}) ^ (q))\n\
         #define NEST_{number}(p, q) MIX_{number}(MIX_{number}(p, q), \\\n\t\tLOW_{number})\n\n"
    ));
    writer.macros.push(format!("NEST_{number}"));
    writer.macros.push(format!("MIX_{number}"));
}

fn macros_of_statics(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "static u32 counter_{number} = {constant};\n#define counted_{number} counter_{number}\n\
         #define BUMP_{number}(p, q) (counted_{number} += (p), counted_{number} ^ (q))\n\n"
    ));
    writer.macros.push(format!("BUMP_{number}"));
    plain(writer);
}

fn variadic_macro(writer: &mut Writer) {
    let number = writer.number();
    writer.source.push_str(&format!(
        "#define SUM_{number}(first, ...) ({{ u32 all[] = {{ (first), ##__VA_ARGS__ }}; all[0] * 3u + all[ARRAY_SIZE(all) - 1]; }})\n\
         #define TWO_{number}(p, q) SUM_{number}(p, q, 5u)\n#define ONE_{number}(p, q) (SUM_{number}(p) + (q))\n\n"
    ));
    writer.macros.push(format!("TWO_{number}"));
    writer.macros.push(format!("ONE_{number}"));
}

fn pasting(writer: &mut Writer) {
    let number = writer.number();
    let (one, other) = (writer.constant(), writer.constant());
    writer.source.push_str(&format!(
        "#define CAT_{number}(p, q) p ## q\n#define XCAT_{number}(p, q) CAT_{number}(p, q)\n\
         static u32 pasted_{number}_one = {one};\nstatic const u32 pasted_{number}_two = {other};\n\
         #define GET_{number}(p, q) (XCAT_{number}(pasted_{number}, _one) + (p) * CAT_{number}(pasted_{number}_, two) + (q))\n\n"
    ));
    writer.macros.push(format!("GET_{number}"));
}

fn redefined(writer: &mut Writer) {
    let number = writer.number();
    for version in ["early", "late"] {
        let constant = writer.constant();
        writer.source.push_str(&format!("#define STEP_{number}(p, q) ((p) * {constant} + (q))\n"));
        writer.macros.push(format!("STEP_{number}"));
        let size = size(writer);
        writer.function("static ", &format!("{version}_{number}"), size);
        writer.macros.pop();
        writer.source.push_str(&format!("#undef STEP_{number}\n\n"));
    }
}

/// The macro's body names one that is defined behind it.
fn late_macro(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "#define USES_LATE_{number}(p, q) LATE_{number}((p) ^ (q))\n#define LATE_{number}(p) ((p) + {constant})\n\n"
    ));
    writer.macros.push(format!("USES_LATE_{number}"));
}

fn stringised(writer: &mut Writer) {
    let number = writer.number();
    writer.source.push_str(&format!(
        "#define STR_{number}(p) #p\n#define NAME_{number}(p) STR_{number}(text_##p)\n\
         #define LENGTH_{number}(p, q) ((u32)strlen(NAME_{number}(some_{number})) + NAME_{number}(x)[(p) & 3u] + (q))\n\n"
    ));
    writer.macros.push(format!("LENGTH_{number}"));
}

fn conditional(writer: &mut Writer) {
    let number = writer.number();
    let config = if writer.random.chance(50) { format!("#define CONFIG_{number} 1\n") } else { String::new() };
    let (one, other) = (expression(writer), expression(writer));
    writer.source.push_str(&format!(
        "{config}static u32 conditional_{number}(u32 a, u32 b)\n{{\n    u32 x = a;\n    u32 y = b;\n#ifdef CONFIG_{number}\n    x += {one};\n\
         #else\n    x ^= {other};\n#endif\n    y += x;\n    return y;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("conditional_{number}"), cost: 4 });
}

fn two(writer: &mut Writer, stem: &str) -> Option<(String, String, usize)> {
    let number = writer.number();
    let names = [format!("{stem}_{number}_a"), format!("{stem}_{number}_b")];
    let before = writer.callables.len();
    for name in &names {
        let size = size(writer).min(3);
        writer.function("static ", name, size);
    }
    let cost = writer.callables[before..].iter().map(|callable| callable.cost).max()?;
    // Mostly called through the table.
    if writer.random.chance(60) {
        writer.callables.truncate(before);
    }
    Some((names[0].clone(), names[1].clone(), cost))
}

fn pointer_table(writer: &mut Writer) {
    let Some((one, other, cost)) = two(writer, "op") else { return };
    let number = writer.number();
    writer.source.push_str(&format!(
        "struct ops_{number} {{\n    u32 (*run)(u32 a, u32 b);\n    u32 bias;\n}};\n\n\
         static const struct ops_{number} ops_{number}[2] = {{\n    {{ .run = {one}, .bias = 4u }},\n    {{ .run = {other} }},\n}};\n\n\
         static u32 dispatch_{number}(u32 a, u32 b)\n{{\n    const struct ops_{number} *ops = &ops_{number}[a & 1u];\n\
         \n    b += ops->bias;\n    return ops->run(a, b);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("dispatch_{number}"), cost: cost + 3 });
}

fn mutable_table(writer: &mut Writer) {
    let Some((one, other, cost)) = two(writer, "handler") else { return };
    let number = writer.number();
    writer.source.push_str(&format!(
        "typedef u32 (*handler_t_{number})(u32, u32);\nstatic handler_t_{number} handlers_{number}[2] = {{ {one}, {other} }};\n\n\
         static noinline void swap_{number}(void)\n{{\n    handler_t_{number} first = handlers_{number}[0];\n\
         \n    handlers_{number}[0] = handlers_{number}[1];\n    handlers_{number}[1] = first;\n}}\n\n\
         static u32 handle_{number}(u32 a, u32 b)\n{{\n    if (a & 2u)\n    {{\n        swap_{number}();\n    }}\n\
         \n    return handlers_{number}[b & 1u](a, b);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("handle_{number}"), cost: cost + 6 });
}

fn records(writer: &mut Writer) {
    let number = writer.number();
    let (value, constant) = (expression(writer), writer.constant());
    writer.source.push_str(&format!(
        "struct record_{number} {{\n    u32 first;\n    struct {{\n        u32 inner;\n        union {{\n            u32 whole;\n\
         \x20           unsigned char parts[4];\n        }};\n    }};\n    struct {{ u32 deep; }} named;\n}};\n\n\
         static struct record_{number} current_{number} = {{ .inner = {constant}, .named = {{ .deep = 3u }} }};\n\n\
         static u32 fill_{number}(struct record_{number} *record, u32 a, u32 b)\n{{\n    u32 x = a;\n    u32 y = b;\n\
         \n    record->whole = {value};\n    record->first = record->parts[1];\n    record->named.deep += y;\n\
         \x20   return record->inner + record->first + x;\n}}\n\n\
         static u32 record_{number}(u32 a, u32 b)\n{{\n    struct record_{number} local = current_{number};\n    u32 sum;\n\
         \n    sum = fill_{number}(&local, a, b);\n    sum += fill_{number}(&current_{number}, b, a);\n    return sum ^ local.named.deep;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("record_{number}"), cost: 14 });
}

fn bit_fields(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    let packed = if writer.random.chance(30) { " __attribute__((packed))" } else { "" };
    writer.source.push_str(&format!(
        "struct bits_{number} {{\n    u32 low:5;\n    u32 middle:9;\n    u32 :3;\n    u32 high:12;\n    unsigned char tail;\n}}{packed};\n\
         static struct bits_{number} bits_{number};\n\n\
         static u32 set_bits_{number}(u32 a, u32 b)\n{{\n    bits_{number}.low = a;\n    bits_{number}.middle += b;\n\
         \x20   bits_{number}.high = bits_{number}.low * {constant};\n    bits_{number}.tail ^= b;\n\
         \x20   return bits_{number}.high + bits_{number}.tail + (u32)sizeof(struct bits_{number});\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("set_bits_{number}"), cost: 6 });
}

fn unions(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "typedef union {{\n    u64 whole;\n    u32 halves[2];\n}} wide_{number};\n\n\
         static u32 halve_{number}(u32 a, u32 b)\n{{\n    wide_{number} wide = {{ .whole = (u64)a * {constant} }};\n\
         \n    wide.halves[1] ^= b;\n    return wide.halves[0] + (u32)(wide.whole >> 33);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("halve_{number}"), cost: 4 });
}

fn enums(writer: &mut Writer) {
    let number = writer.number();
    let constant = 1 + writer.random.below(49);
    let (one, other) = (expression(writer), expression(writer));
    writer.source.push_str(&format!(
        "enum mode_{number} {{ MODE_{number}_OFF, MODE_{number}_ON = {constant}, MODE_{number}_AUTO, MODE_{number}_LAST = MODE_{number}_AUTO + 2 }};\n\n\
         static enum mode_{number} mode_of_{number}(u32 a)\n{{\n    if (a & 1u)\n    {{\n        return MODE_{number}_ON;\n    }}\n\
         \x20   return a & 2u ? MODE_{number}_AUTO : MODE_{number}_OFF;\n}}\n\n\
         static u32 by_mode_{number}(u32 a, u32 b)\n{{\n    u32 x = a;\n    u32 y = b;\n\n    switch (mode_of_{number}(a))\n    {{\n\
         \x20   case MODE_{number}_OFF:\n        return {one};\n    case MODE_{number}_ON:\n        return {other};\n    default:\n\
         \x20       break;\n    }}\n    return x + y + MODE_{number}_LAST;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("by_mode_{number}"), cost: 8 });
}

/// Types that name each other.
fn cycles(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "struct node_{number};\ntypedef u32 (*visit_{number})(struct node_{number} *node, u32 depth);\n\
         struct owner_{number} {{\n    struct node_{number} *first;\n    u32 count;\n}};\n\
         typedef struct node_{number} {{\n    struct node_{number} *next;\n    struct owner_{number} *owner;\n    visit_{number} visit;\n    u32 value;\n}} node_t_{number};\n\n\
         static u32 visit_{number}_default(node_t_{number} *node, u32 depth)\n{{\n    node->owner->count++;\n\
         \x20   return node->value * depth + {constant};\n}}\n\n\
         static struct owner_{number} owner_{number};\n\
         static node_t_{number} nodes_{number}[3] = {{\n    {{ &nodes_{number}[1], &owner_{number}, visit_{number}_default, 3u }},\n\
         \x20   {{ &nodes_{number}[2], &owner_{number}, visit_{number}_default, 5u }},\n    {{ NULL, &owner_{number}, visit_{number}_default, 7u }},\n}};\n\n\
         static u32 walk_{number}(u32 a, u32 b)\n{{\n    struct node_{number} *node;\n    u32 sum = a;\n\n    owner_{number}.first = nodes_{number};\n\
         \x20   for (node = owner_{number}.first; node; node = node->next)\n    {{\n        sum += node->visit(node, b);\n        node->value += a;\n    }}\n\
         \x20   return sum + owner_{number}.count;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("walk_{number}"), cost: 24 });
}

fn static_local(writer: &mut Writer) {
    let number = writer.number();
    let (constant, value) = (writer.constant(), expression(writer));
    let is_const = writer.random.chance(40);
    let (kind, update) = if is_const {
        ("static const u32 kept[4]", "    x ^= kept[y & 3u];\n")
    } else {
        ("static u32 kept[4]", "    x ^= ++kept[y & 3u];\n")
    };
    writer.source.push_str(&format!(
        "static u32 keeps_{number}(u32 a, u32 b)\n{{\n    {kind} = {{ {constant}, 2u, 3u, 9u }};\n    u32 x = a;\n    u32 y = b;\n\
         \n{update}    x += {value};\n    return x;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("keeps_{number}"), cost: 5 });
}

fn several_declarators(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "static u32 one_{number} = {constant}, *to_one_{number} = &one_{number}, many_{number}[4] = {{ 1u, 2u }};\n\
         static u32 pair_a_{number}(u32 a, u32 b), pair_b_{number}(u32 a, u32 b);\n\n"
    ));
    writer.variables.push(format!("one_{number}"));
    writer.variables.push(format!("(*to_one_{number})"));
    writer.tables.push(format!("many_{number}"));
    let size = size(writer);
    writer.function("static ", &format!("pair_a_{number}"), size);
    writer.function("static ", &format!("pair_b_{number}"), size);
}

fn forward(writer: &mut Writer) {
    let number = writer.number();
    writer.source.push_str(&format!("static u32 later_{number}(u32 a, u32 b);\n\n"));
    writer.source.push_str(&format!(
        "static u32 sooner_{number}(u32 a, u32 b)\n{{\n    u32 x = later_{number}(b, a);\n\n    x += a;\n    return x;\n}}\n\n"
    ));
    let size = size(writer);
    writer.function("static ", &format!("later_{number}"), size);
    let cost = writer.callables.last().map_or(0, |callable| callable.cost) + 3;
    writer.callables.push(Callable { name: format!("sooner_{number}"), cost });
}

fn recursion(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "static u32 again_{number}(u32 a, u32 b)\n{{\n    u32 depth = a & 7u;\n\n    if (depth == 0)\n    {{\n        return b;\n    }}\n\
         \x20   b = b * {constant} + depth;\n    return again_{number}(depth - 1, b) + depth;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("again_{number}"), cost: 40 });
}

fn mutual_recursion(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    let storage = *writer.random.pick(&["static ", "static noinline "]);
    writer.source.push_str(&format!(
        "{storage}u32 odd_{number}(u32 a, u32 b);\n\n\
         {storage}u32 even_{number}(u32 a, u32 b)\n{{\n    u32 depth = a & 7u;\n\n    if (depth == 0)\n    {{\n        return b;\n    }}\n\
         \x20   total += depth;\n    return odd_{number}(depth - 1, b ^ {constant});\n}}\n\n\
         {storage}u32 odd_{number}(u32 a, u32 b)\n{{\n    if ((a & 7u) == 0)\n    {{\n        return b + 1u;\n    }}\n\
         \x20   return even_{number}((a & 7u) - 1, b + {constant}) * 3u;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("even_{number}"), cost: 40 });
}

/// GCC passes the one member that is used (`.isra`).
fn scalar_replacement(writer: &mut Writer) {
    let number = writer.number();
    let (value, constant) = (expression(writer), writer.constant());
    writer.source.push_str(&format!(
        "struct wide_{number} {{\n    u32 unused[6];\n    u32 used;\n}};\n\n\
         static noinline u32 narrow_{number}(const struct wide_{number} *wide, u32 a, u32 b, u32 dropped)\n{{\n    u32 x = wide->used;\n    u32 y = b;\n\
         \n    x += {value};\n    return x * y;\n}}\n\n\
         static u32 widen_{number}(u32 a, u32 b)\n{{\n    struct wide_{number} wide = {{ .used = a * {constant} }};\n\
         \n    return narrow_{number}(&wide, a, b, 3u) + narrow_{number}(&wide, b, a, a);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("widen_{number}"), cost: 10 });
}

/// GCC makes a version for a constant argument (`.constprop`).
fn constant_argument(writer: &mut Writer) {
    let number = writer.number();
    let (value, other) = (expression(writer), expression(writer));
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "static noinline u32 fixed_{number}(u32 a, u32 b, u32 flags)\n{{\n    u32 x = a;\n    u32 y = b;\n\
         \n    if (flags & 1u)\n    {{\n        x += {value};\n    }}\n    if (flags & 6u)\n    {{\n        y ^= {other};\n    }}\n\
         \x20   return x + y * flags;\n}}\n\n\
         static noinline u32 fixes_{number}(u32 a, u32 b)\n{{\n    return fixed_{number}(a, b, {constant}) ^ fixed_{number}(b, a, {constant});\n}}\n\n\
         static u32 fixes_again_{number}(u32 a, u32 b)\n{{\n    return fixes_{number}(a, b) + fixed_{number}(a, 2u, {constant});\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("fixes_again_{number}"), cost: 20 });
    writer.callables.push(Callable { name: format!("fixes_{number}"), cost: 14 });
}

/// A cheap way out and a rest that is only called (`.part`).
fn split(writer: &mut Writer) {
    let number = writer.number();
    let before = writer.callables.len();
    let (body, cost) = writer.body(6);
    let head = format!(
        "static u32 split_{number}(u32 a, u32 b)\n{{\n    if (likely((a & 3u) != 1u))\n    {{\n        return b;\n    }}\n"
    );
    writer.source.push_str(&format!("{head}{body}}}\n\n"));
    for caller in ["one", "two", "three"] {
        let constant = writer.constant();
        writer.source.push_str(&format!(
            "static noinline u32 splits_{number}_{caller}(u32 a, u32 b)\n{{\n    total ^= {constant};\n    return split_{number}(a, b) + 1u;\n}}\n\n"
        ));
        writer.callables.push(Callable { name: format!("splits_{number}_{caller}"), cost: cost + 4 });
    }
    debug_assert!(writer.callables.len() > before);
}

/// Functions that GCC makes one of (-fipa-icf).
fn folded(writer: &mut Writer) {
    let number = writer.number();
    let (body, cost) = writer.body(3);
    for twin in ["x", "y"] {
        let name = format!("twin_{number}_{twin}");
        writer.source.push_str(&format!("static noinline u32 {name}(u32 a, u32 b)\n{{\n{body}}}\n\n"));
        writer.callables.push(Callable { name, cost });
    }
}

fn alias(writer: &mut Writer) {
    let number = writer.number();
    let name = format!("real_{number}");
    let size = size(writer);
    writer.function("", &name, size);
    let cost = writer.callables.last().map_or(0, |callable| callable.cost);
    let storage = *writer.random.pick(&["static ", ""]);
    writer
        .source
        .push_str(&format!("{storage}u32 other_{number}(u32 a, u32 b) __attribute__((alias(\"{name}\")));\n\n"));
    writer.callables.push(Callable { name: format!("other_{number}"), cost });
}

fn weak_function(writer: &mut Writer) {
    let name = format!("weak_{}", writer.number());
    let size = size(writer);
    writer.function("weak ", &name, size);
}

fn computed_goto(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "static u32 jump_{number}(u32 a, u32 b)\n{{\n    static const void *const labels[] = {{ &&first, &&second, &&third }};\n    u32 x = b;\n\
         \n    goto *labels[a % 3u];\nfirst:\n    x += {constant};\nsecond:\n    x ^= 9u;\nthird:\n    x *= 5u;\n    return x;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("jump_{number}"), cost: 6 });
}

fn header_inline(writer: &mut Writer) {
    let number = writer.number();
    let (one, other) = (writer.constant(), writer.constant());
    writer.header.push_str(&format!(
        "#define SHIFT_{number} {}\n\nstatic inline u32 inline_{number}(u32 a, u32 b)\n{{\n    u32 x = a << SHIFT_{number};\n\
         \n    x += b * {one};\n    if (x & 64u)\n    {{\n        x ^= {other};\n    }}\n    return x;\n}}\n\n",
        writer.random.below(7)
    ));
    writer.callables.push(Callable { name: format!("inline_{number}"), cost: 4 });
    let table = format!("inline_table_{number}");
    writer.header.push_str(&format!("static const u32 {table}[4] = {{ {one}, 7u, {other}, 1u }};\n\n"));
    writer.tables.push(table);
}

fn strings(writer: &mut Writer) {
    let number = writer.number();
    let word = writer.random.below(1000);
    writer.source.push_str(&format!(
        "static const char *const names_{number}[4] = {{ \"zero\", \"one{word}\", \"two\" \"_more\", \"\" }};\n\n\
         static u32 named_{number}(u32 a, u32 b)\n{{\n    const char *name = names_{number}[a & 3u];\n    char buffer[16];\n\
         \n    if (!strcmp(name, \"two_more\"))\n    {{\n        return b ^ 11u;\n    }}\n    memset(buffer, 0, sizeof(buffer));\n\
         \x20   memcpy(buffer, name, strlen(name));\n    return (u32)buffer[b & 3u] + (u32)strlen(name);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("named_{number}"), cost: 8 });
}

fn system_headers(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.random.below(80) + 40;
    writer.source.push_str(&format!(
        "static u32 letters_{number}(u32 a, u32 b)\n{{\n    int letter = {constant} + (int)(a & 15u);\n    div_t parts = div(letter, 7);\n\
         \n    if (isalpha(letter))\n    {{\n        return b + (u32)toupper(letter);\n    }}\n    return (u32)(parts.quot + parts.rem) + (u32)abs(letter - 60);\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("letters_{number}"), cost: 6 });
}

/// A callback with the object that it finds by a member.
fn callbacks(writer: &mut Writer) {
    let number = writer.number();
    let constant = writer.constant();
    writer.source.push_str(&format!(
        "struct work_{number} {{\n    u32 (*call)(struct work_{number} *work);\n}};\nstruct job_{number} {{\n    u32 weight;\n    struct work_{number} work;\n}};\n\n\
         static u32 do_work_{number}(struct work_{number} *work)\n{{\n    struct job_{number} *job = container_of(work, struct job_{number}, work);\n\
         \n    job->weight += {constant};\n    return job->weight;\n}}\n\n\
         static noinline u32 run_work_{number}(struct work_{number} *work)\n{{\n    return work->call(work) * 3u;\n}}\n\n\
         static u32 queue_{number}(u32 a, u32 b)\n{{\n    struct job_{number} job = {{ .weight = a, .work = {{ .call = do_work_{number} }} }};\n\
         \n    b += run_work_{number}(&job.work);\n    return b + job.weight;\n}}\n\n"
    ));
    writer.callables.push(Callable { name: format!("queue_{number}"), cost: 8 });
}

fn made_by_macro(writer: &mut Writer) {
    let number = writer.number();
    let (one, other) = (writer.constant(), writer.constant());
    writer.source.push_str(&format!(
        "#define DEFINE_GETTER_{number}(name, bias) static u32 name##_{number}(u32 a, u32 b) {{ return a * (bias) ^ b; }}\n\
         DEFINE_GETTER_{number}(get_one, {one})\nDEFINE_GETTER_{number}(get_two, {other})\n\n"
    ));
    writer.callables.push(Callable { name: format!("get_one_{number}"), cost: 2 });
    writer.callables.push(Callable { name: format!("get_two_{number}"), cost: 2 });
}

/// Assertions at compile time, and a macro that has its line, which reaches nothing.
fn checked(writer: &mut Writer) {
    let number = writer.number();
    let value = expression(writer);
    writer.source.push_str(&format!(
        "#define CHECK_{number}(p, q) ({{ (void)__LINE__; (p) > (q) ? (p) - (q) : (q); }})\n\
         _Static_assert(sizeof(u32) == 4, \"u32\");\n\n\
         static u32 checked_{number}(u32 a, u32 b)\n{{\n    u32 x = a;\n    u32 y = b;\n\n    _Static_assert(sizeof(x) == 4, \"x\");\n\
         \x20   x = _Generic(x, u32: CHECK_{number}(x, y), default: 0);\n    x += __builtin_choose_expr(1, {value}, 0u);\n\
         \x20   if (__builtin_constant_p(a))\n    {{\n        return x * 2u;\n    }}\n    return x + x;\n}}\n\n"
    ));
    writer.macros.push(format!("CHECK_{number}"));
    writer.callables.push(Callable { name: format!("checked_{number}"), cost: 5 });
}
