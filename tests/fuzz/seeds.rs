//! What the mutations begin with: small inputs of each kind, some of them made by the compiler; and inputs that are hard on
//! purpose, each of which an earlier version choked on, or would have without a limit.

use std::fs;
use std::path::Path;
use std::process::Command;

use klp_extract::bundle::Bundle;

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Files of one name in the folders below `testdata/FOLDER`.
fn files(folder: &str, name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join(name)).collect();
    all.sort();
    all.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// What GCC makes of a program.
fn compiled(text: &str, arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("a.c"), folder.path().join("a.o"));
    fs::write(&source, text).unwrap();
    let status = Command::new("gcc").args(arguments).arg("-o").arg(&output).arg(&source).status().unwrap();
    assert!(status.success());
    fs::read(output).unwrap()
}

const PROGRAM: &str = "struct s { int a; struct { long b; char c[3]; }; enum { A, B = 7 } e; };\n\
    static int count; const char *const names[] = { \"a\", \"b\" };\nextern int other(struct s *);\n\
    static int helper(struct s *s) { return ++count + s->a + other(s); }\n\
    int (*table[2])(struct s *) = { helper, other };\ntypedef struct { int n; } t;\n\
    int main(int n, char **a) { struct s s = { n }; t u = { 1 }; return table[n & 1](&s) + helper(&s) + u.n + *names[0]; }\n";

const LIVEPATCH: &str = "extern int helper(int); extern int other(void); extern int printk(const char *, ...);\n\
    __attribute__((section(\".modinfo\"))) const char info[] = \"name=livepatch_x\\0livepatch=Y\\0depends=\\0vermagic=6.1\";\n\
    __attribute__((section(\".gnu.linkonce.this_module\"))) char __this_module[64];\n\
    int klpp_f(int a) { printk(\"x\"); return helper(a) + other(); }\n\
    struct func { const char *old; void *new; unsigned long sympos; char rest[96]; };\n\
    struct object { const char *name; struct func *funcs; char rest[96]; };\n\
    static struct func funcs[] = { { \"f\", klpp_f, 1 }, { } };\nstatic struct object objects[] = { { \"m\", funcs }, { } };\n\
    struct { void *mod; struct object *objs; char rest[136]; } patch = { __this_module, objects };\n";

const BUNDLE: &str = "{\"schema\":1,\"versions\":\"v\",\"given\":[\"create\",\"a.patch\"],\"arguments\":[\"create\",\"-k\",\"k\",\"../inputs/0/a.patch\",\"-o\",\"o\"],\"environment\":{},\"kernels\":[{\"descriptor\":{\"schema\":1,\"name\":\"k\",\"release\":\"r\",\"version\":\"v\",\"compiler\":\"c\",\"source\":\"s\",\"build\":\"b\",\"image\":\"i\",\"symvers\":\"y\",\"modules\":\"m\",\"kallsyms\":\"a\",\"commands\":\"c\",\"origin\":{\"kind\":\"local\"}},\"moved\":{\"/b\":\"b\"}}],\"files\":{\"inputs/0/a.patch\":\"HASH\"},\"present\":[\"work/x\"],\"links\":{\"cache/l\":\"../inputs\"},\"status\":0,\"outputs\":{\"o/a.c\":\"HASH\"}}";

/// Small inputs of a target.
pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "patch" => {
            let mut all = files("patches", "input.patch");
            all.extend(texts(&[
                "From 1234567890ab Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nSubject: [PATCH] =?UTF-8?q?x=20y?=\n\
                 MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/plain\n\
                 Content-Transfer-Encoding: base64\n\nLS0tIGEvZgorKysgYi9mCkBAIC0xICsxIEBACi1hCitiCg==\n--b--\n",
                "diff --git a/f b/f\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n",
            ]));
            all
        }
        "lines" => texts(&["a\nb\nc\n\0a\nx\ny\nb\nc\n", "/* a\n b */\n#define M \\\n x\nc\n\0/* a\n n\n b */\n#define M \\\n y \\\n x\nc\n"]),
        "clone-report" => texts(&[
            "Callgraph clone;f;3;a.c;1;2;f.isra.0;9;a.c;1;2;isra\nCallgraph removal;f;3;a.c;1;2\n",
            "Callgraph clone;main;1;a.c;1;2;<-;f;2;a.c;1;2;optimization:;inlining to\n",
        ]),
        "symbols" => texts(&[
            "0x1a2b3c4d\tkvm_get\tarch/x86/kvm/kvm-amd\tEXPORT_SYMBOL_GPL\tNS\n0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\n",
            "ffffffff81000000 T _text\nffffffff81000010 t f.isra.0\n0000000000000000 A cpu\n",
            "CONFIG_X86_64=y\nCONFIG_T=\"a b\"\n# CONFIG_B is not set\nCONFIG_LIVEPATCH=y\n",
            "# C name object symbol sympos\nnewmems vmlinux newmems.2 2\nx libcrc y 1 ext4 # why\n",
        ]),
        "commands" => texts(&[
            "savedcmd_f/x.o := gcc-12 -Wp,-MMD,f/.x.o.d -nostdinc -I./include -D__KERNEL__ -O2 -DMODULE -DKBUILD_MODNAME='\"x\"' -c -o f/x.o /s/f/x.c ; ./tools/objtool/objtool --mcount f/x.o\n\n\
             source_f/x.o := /s/f/x.c\n\ndeps_f/x.o := \\\n    $(wildcard include/config/A) \\\n  /s/include/a.h \\\n\nf/x.o: $(deps_f/x.o)\n",
            "set -e; echo '  CC x.o'; gcc -D__KERNEL__ -DKBUILD_MODNAME=\\\"a\\\" -c -o /x/a.o a.c; cat <<EOF | sh\n",
            "#include <linux/a.h>\n# include \"b.h\" /* c */\n#include NAME\n",
        ]),
        "lex" => texts(&[
            "int x = 0x1p-3 + u8\"a\\\"b\" /* c\n */ // d\\\n e\n#pragma pack(1)\n# 1 \"a.c\" 1\n'\\'' . ... <<= ##\n",
            "\"unclosed\n'\\\n\\ \\\n L'x' \u{e9}\"\u{e9}\\\u{e9}\"\n",
        ]),
        "expand" => {
            let mut all = texts(&[
                "# 1 \"a.c\"\n#define A(x, ...) #x x##1 __VA_ARGS__ __VA_OPT__(, x)\n#define B A(B, A)\nint A(f, B, 2) B;\n#undef A\nA\n",
                "#define f(x...) g(x, ##x) _Pragma(\"pack(1)\")\n#define g(a, b) a##b + #b\nint n = f(f(1)(2), __LINE__);\n",
                "# 1 \"a.c\" 1\n# 1 \"b.h\" 2\nint f(a) int a; { return a; }\nstruct { int x; } y = { { 1 } };\nint (*h(int a))(int) { return 0; }\n",
            ]);
            all.push(compiled(PROGRAM, &["-E", "-fdirectives-only", "-dD"]));
            all
        }
        "pieces" | "reading" => texts(&[
            PROGRAM,
            "/* h */\n#include <a.h>\n#define M \\\n\t1\nstatic int g(void)\n{\n#if 1\n\treturn ';';\n#endif\n}\nmodule_init(g);\n",
            "__attribute__((a)) int f(u8 x) { __label__ l; l: asm volatile(\"\" : : \"r\"(x)); return x ?: ({ (int)sizeof(u8); }) && &&l; }\n",
        ]),
        "object" => {
            let flags = ["-O2", "-g", "-c", "-gz=none", "-ffunction-sections", "-pg", "-mfentry", "-mrecord-mcount"];
            vec![compiled(PROGRAM, &flags), compiled(PROGRAM, &["-O1", "-g", "-c", "-gz=none"]), compiled(PROGRAM, &["-O2", "-c"])]
        }
        "link" | "module" => vec![
            compiled(
                &LIVEPATCH
                    .replace("static struct object objects", "struct object objects")
                    .replace("this_module, objects }", "this_module, (struct object *)((char *)objects - 1000) }"),
                &["-O2", "-c", "-fno-pie"],
            ),
            compiled(LIVEPATCH, &["-O2", "-c", "-fno-pie", "-mcmodel=kernel", "-fno-asynchronous-unwind-tables"]),
            compiled(LIVEPATCH, &["-O1", "-c", "-fno-pie"]),
        ],
        "image" => vec![bz_image(&[0x02, 0x21, 0x4c, 0x18]), bz_image(&[0x28, 0xb5, 0x2f, 0xfd]), compiled(PROGRAM, &["-c"])],
        "kallsyms" => vec![kallsyms_tables(true), kallsyms_tables(false)],
        "json" => texts(&[
            "{\"schema\":1,\"name\":\"x\",\"tool\":\"t\",\"kernel\":{\"name\":\"k\",\"release\":\"r\",\"version\":\"v\"},\"patched\":[],\"affected\":[],\"targets\":[{\"name\":\"f\",\"object\":\"vmlinux\",\"sympos\":0,\"reason\":\"r\"}],\"externals\":[],\"copied\":[],\"includes\":[],\"findings\":[],\"inputs\":{},\"outputs\":{\"a.c\":\"00\"}}",
            "{\"schema\":1,\"words\":[\"gcc\",\"-O2\"],\"lists\":[[1]],\"commands\":[{\"source\":\"a/../b.c\",\"output\":\"b.o\",\"object\":\"vmlinux\",\"compiler\":0,\"list\":0,\"rest\":[1]}]}",
            "{\"schema\":1,\"name\":\"k\",\"release\":\"r\",\"version\":\"v\",\"compiler\":\"c\",\"source\":\"s\",\"build\":\"b\",\"image\":\"i\",\"symvers\":\"y\",\"modules\":\"m\",\"kallsyms\":\"a\",\"commands\":\"c\",\"origin\":{\"kind\":\"local\"}}",
        ]),
        "bundle" => {
            let whole = BUNDLE.replace("HASH", &"0a".repeat(32));
            // What is refused at once is no beginning.
            Bundle::parse(whole.as_bytes(), Path::new("bundle.json")).expect("a bundle");
            texts(&[&whole])
        }
        "config" => texts(&["company = 'x'\nfunction-prefix = 'kgr_'\nmodule-name = 'a-{patch}'\n[make]\nCC = 'gcc'\n"]),
        "template" => vec![
            include_bytes!("../../templates/Kbuild").to_vec(),
            b"{% for o in objects %}{{ o.name | upper }}{% if loop.last %}x{% else %}{{ 1 + 2 * 3 }}{% endif %}{% endfor %}{# c #}{% include \"part.c\" %}".to_vec(),
        ],
        _ => Vec::new(),
    }
}

/// A bzImage as far as its boot header goes, with a payload of this magic.
fn bz_image(magic: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 3 * 512 + 16];
    file[0x1f1] = 2;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
    let mut payload = magic.to_vec();
    let block = lz4_flex::block::compress(b"Linux version 6.1.0 (a) (b) #1 x\n");
    payload.extend((block.len() as u32).to_le_bytes());
    payload.extend(block);
    payload.extend(33_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file
}

/// The tables of three symbols, laid out as scripts/kallsyms.c does before and since Linux 6.4.
fn kallsyms_tables(offsets_last: bool) -> Vec<u8> {
    let pad = |data: &mut Vec<u8>| data.resize(data.len().next_multiple_of(8), 0);
    let mut offsets: Vec<u8> = [-1i32, -17, 64].iter().flat_map(|offset| offset.to_le_bytes()).collect();
    pad(&mut offsets);
    offsets.extend(0xffff_ffff_8100_0000_u64.to_le_bytes());
    let mut data = vec![0xaa; 64];
    if !offsets_last {
        data.extend(&offsets);
    }
    data.extend(3u64.to_le_bytes());
    for name in ["Ta", "tbc", "Dcpu"] {
        data.push(name.len() as u8);
        data.extend(name.bytes());
    }
    pad(&mut data);
    data.extend([0; 8]);
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for byte in 0..=255_u8 {
        index.extend((table.len() as u16).to_le_bytes());
        table.extend([byte.max(1), 0]);
    }
    data.extend(table);
    data.extend(index);
    if offsets_last {
        data.extend(offsets);
    }
    data
}

/// Words that mutations put in.
pub fn words(name: &str) -> &'static [&'static [u8]] {
    match name {
        "patch" => &[
            b"diff --git a/",
            b"--- a/x\n+++ b/x\n",
            b"@@ -1,3 +1,4 @@\n",
            b"\\ No newline at end of file\n",
            b"/dev/null",
            b"\n+",
            b"\n-",
            b"\n ",
            b"../",
            b".git/",
            b"rename from ",
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\n",
            b"--b--",
            b"Subject: ",
            b"From x Mon Sep 17 00:00:00 2001\n",
            b"\r\n",
            b"\t1970-01-01 00:00:00",
            b"CVE-2026-1234",
        ],
        "clone-report" => &[b"Callgraph clone;", b"Callgraph removal;", b";<-;", b";optimization:;", b";", b"\n"],
        "symbols" => &[b"\tEXPORT_SYMBOL\t", b"vmlinux", b"\n", b"\t", b" T ", b"CONFIG_", b"0x"],
        "commands" => &[
            b" -c ",
            b"-D__KERNEL__ ",
            b"-DKBUILD_MODNAME=",
            b" := ",
            b"; ",
            b"$(",
            b"`",
            b"'",
            b"\"",
            b"-fplugin=x.so ",
            b"@file ",
            b".c\n",
            b"deps_a := \\\n",
            b" -o ",
            b"../",
            b"#include \"",
        ],
        "lex" | "pieces" | "reading" | "expand" | "lines" => &[
            b"#define A(x) ",
            b"#undef A\n",
            b"#x",
            b"##",
            b"__VA_ARGS__",
            b"__VA_OPT__(",
            b"...",
            b"_Pragma(\"pack(1)\")",
            b"/*",
            b"*/",
            b"//",
            b"\\\n",
            b"\"",
            b"'",
            b"(",
            b")",
            b"{",
            b"}",
            b"[",
            b"]",
            b";",
            b"=",
            b",",
            b"# 1 \"a.c\" 1\n",
            b"__LINE__",
            b"__COUNTER__",
            b"\n#",
            b"#pragma ",
            b"struct ",
            b"int f(int a) ",
            b"__attribute__((",
            b"asm(\"",
            b"typeof(",
            b"?:",
            b"&&l",
            b"0",
            b"#if ",
            b"#line 3\n",
        ],
        "json" | "bundle" => &[b"{", b"}", b"[", b"]", b"\"schema\":1", b":", b",", b"null", b"1e999", b"\\u0000"],
        "config" => &[b"[make]\n", b" = ", b"'", b"\"\"\"", b"{patch}", b"[[", b"{"],
        "template" => &[
            b"{{ ",
            b" }}",
            b"{% ",
            b" %}",
            b"{% if name %}",
            b"{% endif %}",
            b"{% for x in objects %}",
            b"{% endfor %}",
            b"{% include \"Kbuild\" %}",
            b"{% extends \"Kbuild\" %}",
            b"{% raw %}",
            b" | ",
            b"range(end=9)",
            b"(",
            b"[",
            b"-",
            b"*",
            b"{% macro m() %}",
            b"{% set x = 1 %}",
        ],
        _ => &[],
    }
}

/// Inputs that take long, or much memory, or a deep stack, unless there is a limit.
pub fn hard(name: &str) -> Vec<Vec<u8>> {
    let deep =
        |open: &str, close: &str| format!("int x = {}1{};\n", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    match name {
        "patch" => vec![
            // Messages, hunks, CVEs, parts within parts, and a line of blanks, a lot of each.
            "From x@y Mon Sep 17 00:00:00 2001\nSubject: a\n\nb\n".repeat(20_000).into_bytes(),
            format!(
                "--- a/f\n+++ b/f\n{}",
                (1..30_000).map(|n| format!("@@ -{n} +{n} @@\n-a\n+b\n")).collect::<String>()
            )
            .into_bytes(),
            (0..60_000).map(|n| format!("CVE-2026-{n:05} ")).collect::<String>().into_bytes(),
            format!(
                "Subject: x\n{}",
                (0..20_000)
                    .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"))
                    .collect::<String>()
            )
            .into_bytes(),
            format!("diff --git {}\n", " ".repeat(400_000)).into_bytes(),
            format!("Subject: {}x\n\n", "[patch] ".repeat(100_000)).into_bytes(),
        ],
        "lines" => vec![
            format!(
                "{}\0{}",
                (0..20_000).map(|n| format!("a{n}\n")).collect::<String>(),
                (0..20_000).map(|n| format!("b{n}\n")).collect::<String>()
            )
            .into_bytes(),
            format!("{}\0{}", "a\nb\n".repeat(20_000), "b\na\na\n".repeat(15_000)).into_bytes(),
        ],
        "expand" => vec![
            bomb(|next| format!("{next} {next}"), 40),
            bomb(|next| format!("F({next}, {next})"), 40),
            bomb(|next| next.to_string(), 20_000),
            // Bytes in one token, not tokens.
            [&b"#define P(a, b) Q(a, b)\n#define Q(a, b) a##b\n"[..], &bomb(|next| format!("P({next}, {next})"), 40)]
                .concat(),
            format!(
                "#define S(x) T(x)\n#define T(x) #x\nconst char *s = {}\"\\\"\"{};\n",
                "S(".repeat(60),
                ")".repeat(60)
            )
            .into_bytes(),
            deep("(", ")"),
            deep("{", "}"),
            [b"#define F(x) x\n".to_vec(), deep("F(", ")")].concat(),
            [b"#define F(x) x x\n".to_vec(), deep("F(", ")")].concat(),
            format!("#define F({}) {}\nF(1)\n", params(30_000), params(30_000)).into_bytes(),
            format!("#define F(x, ...) {}\nF(1)\nF(1)\n", "__VA_OPT__(x) ".repeat(20_000)).into_bytes(),
            format!("#define F(...) {}\n", "__VA_OPT__( ".repeat(30_000)).into_bytes(),
            (0..40_000).map(|n| format!("# {n} \"f{n}.h\" 1\n")).collect::<String>().into_bytes(),
            "){}".repeat(100_000).into_bytes(),
            "f(a) int b, c; ".repeat(50_000).into_bytes(),
            "# 4294967295 \"a.c\"\n\n\nint x;\n__LINE__\n".into(),
            format!("#define F(x) x\n{}", "F(".repeat(100_000)).into_bytes(),
            format!("#define F() F\n#define G F()()()()\n{}\n", "G ()()".repeat(30_000)).into_bytes(),
        ],
        "lex" => vec![
            deep("(", ")"),
            "/*".repeat(200_000).into_bytes(),
            "\"\\".repeat(200_000).into_bytes(),
            b"\\\n".repeat(200_000),
        ],
        "pieces" => vec![
            ";\n".repeat(200_000).into_bytes(),
            format!("f({}1) x {}", "a, ".repeat(100_000), "{} ".repeat(100_000)).into_bytes(),
            deep("(", ")"),
        ],
        "reading" => vec![
            deep("(", ")"),
            deep("{", "}"),
            format!("int f(int x) {{ return {}{{; }}", "-".repeat(60)).into_bytes(),
            deep("- ", ""),
            format!("int f(void) {{ {} }}\n", "if (1) ".repeat(50_000)).into_bytes(),
            format!("int f(void) {{ {}; {} }}\n", "{".repeat(50_000), "}".repeat(50_000)).into_bytes(),
            format!("int {}x;\n", "*".repeat(100_000)).into_bytes(),
            deep("((int)(", "))")[..600].to_vec(),
            format!("int x = {}1{};\n", "((int)(".repeat(12), "))".repeat(12)).into_bytes(),
            "# 4294967295 \"fuzz.c\"\nint x;\nint y;\n".into(),
            "__attribute__((".repeat(50_000).into_bytes(),
        ],
        "symbols" => {
            vec![(0..100_000).map(|n| format!("0x1\ts{n}\tvmlinux\tEXPORT_SYMBOL\n")).collect::<String>().into_bytes()]
        }
        "clone-report" => vec![
            (0..50_000)
                .map(|n| format!("Callgraph clone;f;{n};a.c;1;1;f;{};a.c;1;1;isra\n", n + 1))
                .collect::<String>()
                .into_bytes(),
        ],
        "json" | "bundle" => vec!["[".repeat(100_000).into_bytes(), "{\"a\":".repeat(100_000).into_bytes()],
        "config" => vec![
            format!("a = {}", "[".repeat(100_000)).into_bytes(),
            format!("a{} = 1", ".a".repeat(50_000)).into_bytes(),
        ],
        "template" => vec![
            format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)).into_bytes(),
            format!("{{{{ {}1 }}}}", "-".repeat(100_000)).into_bytes(),
            format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
            "{% if 1 %}".repeat(50_000).into_bytes(),
            b"{% include \"Kbuild\" %}".to_vec(),
            b"{% for a in range(end=100000) %}{% for b in range(end=100000) %}x{% endfor %}{% endfor %}".to_vec(),
        ],
        "object" => vec![elf_of_overlaps(), elf_of_functions()],
        "kallsyms" => vec![vec![0; 1 << 20], index_tables()],
        _ => Vec::new(),
    }
}

fn params(count: usize) -> String {
    (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>().join(", ")
}

/// `#define A0 ...A1...`, doubled at each level.
fn bomb(twice: impl Fn(&str) -> String, levels: usize) -> Vec<u8> {
    let mut text = String::from("#define F(a, b) a b\n");
    for level in 0..levels {
        text += &format!("#define A{level} {}\n", twice(&format!("A{}", level + 1)));
    }
    (text + &format!("#define A{levels} x\nA0\n")).into_bytes()
}

/// Many section headers, all of one range of the file.
fn elf_of_overlaps() -> Vec<u8> {
    let mut file = compiled(PROGRAM, &["-O2", "-c"]);
    let table = u64::from_le_bytes(file[0x28..0x30].try_into().unwrap()) as usize;
    let count = u16::from_le_bytes(file[0x3c..0x3e].try_into().unwrap()) as usize;
    let headers = file[table..table + 64 * count].to_vec();
    let text = headers.chunks(64).find(|header| header[4] == 1 && header[8] & 2 != 0).unwrap().to_vec();
    let start = file.len();
    file[0x28..0x30].copy_from_slice(&(start as u64).to_le_bytes());
    file.extend(headers);
    let more = 20_000;
    for _ in 0..more {
        let mut header = text.clone();
        header[24..32].copy_from_slice(&0u64.to_le_bytes());
        header[32..40].copy_from_slice(&(start as u64).to_le_bytes());
        file.extend(header);
    }
    file[0x3c..0x3e].copy_from_slice(&((count + more) as u16).to_le_bytes());
    file
}

/// Many functions, each of which is all of the code.
fn elf_of_functions() -> Vec<u8> {
    let mut text = String::from(".text\nstart:\n.rept 40000\nret\n.endr\nend:\n");
    for number in 0..20_000 {
        text += &format!(
            ".type f{number}, @function\n.set f{number}, start + {number}\n.size f{number}, end - f{number}\n"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("a.s"), folder.path().join("a.o"));
    fs::write(&source, text).unwrap();
    assert!(Command::new("gcc").arg("-c").arg("-o").arg(&output).arg(&source).status().unwrap().success());
    fs::read(output).unwrap()
}

/// Many places that look like the index of a token table, before a table that looks like names.
fn index_tables() -> Vec<u8> {
    let mut data = vec![0u8; 2 << 20];
    let mut tokens: Vec<u8> = Vec::new();
    for _ in 0..256 {
        tokens.extend([b'a', 0]);
    }
    let index: Vec<u8> = (0..256u16).flat_map(|number| (2 * number).to_le_bytes()).collect();
    for _ in 0..1000 {
        data.extend(&tokens);
        data.extend(&index);
    }
    data
}
