//! The compile commands of a whole kernel build: collected from `.cmd` files or `make -n`, stored in `commands.json`.
//!
//! Owns the reading of what Kbuild writes and prints (scripts/Kbuild.include, if_changed_rule; scripts/Makefile.build,
//! rule_cc_o_c). No shell is involved: what isn't a plain list of words is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, KERNEL_INVALID, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::kernel::options;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symvers::module_name;

/// The trees that commands name, as absolute paths.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    pub source: &'a Path,
    pub build: &'a Path,
}

/// Folders whose code is compiled with the kernel's headers but runs outside of the kernel image proper: as boot code,
/// in user space (vDSO), in 16-bit mode, or after kexec. Function replacement can't reach it.
const OUTSIDE: &[&str] = &[
    "arch/x86/boot/",
    "arch/x86/entry/vdso/",
    "arch/x86/purgatory/",
    "arch/x86/realmode/rm/",
    "arch/x86/tools/",
    "drivers/firmware/efi/libstub/",
    "scripts/",
    "tools/",
    "usr/",
];

/// vDSO code that is part of the kernel image all the same (arch/x86/entry/vdso/Makefile, `obj-y`).
const INSIDE: &[&str] = &[
    "arch/x86/entry/vdso/vma.",
    "arch/x86/entry/vdso/extable.",
    "arch/x86/entry/vdso/vdso32-setup.",
    "arch/x86/entry/vdso/vdso-image-",
];

/// Is a file (relative to source or build folder) boot, vDSO, real-mode, purgatory or host code?
pub fn is_outside_kernel(file: &str) -> bool {
    OUTSIDE.iter().any(|folder| file.starts_with(folder)) && !INSIDE.iter().any(|start| file.starts_with(start))
}

/// Reads the commands out of what `make -n vmlinux modules` printed. `scratch` is where make ran, which the result
/// must not name.
pub fn from_make_output(text: &str, trees: Trees<'_>, scratch: &Path) -> Result<Vec<CompileCommand>> {
    let mut commands = Vec::new();
    let scratch = format!("{}/", scratch.display());
    let build = format!("{}/", trees.build.display());
    for line in text.lines().filter(|line| may_compile(line)) {
        for part in recipe_parts(line).filter(|part| may_compile(part)) {
            commands.extend(compile_command(&part.replace(&scratch, &build), trees)?);
        }
    }
    Ok(sorted(commands))
}

/// Reads the commands out of the `.cmd` files below the build folder.
pub fn from_cmd_files(trees: Trees<'_>) -> Result<Vec<CompileCommand>> {
    let mut commands = Vec::new();
    for entry in walkdir::WalkDir::new(trees.build).into_iter().filter_entry(|e| e.file_name() != "source") {
        let entry = entry.map_err(|e| Finding::new(KERNEL_INVALID, format!("cannot read the build folder: {e}")))?;
        if !entry.file_name().to_str().is_some_and(|name| name.ends_with(".o.cmd")) {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(io("read", entry.path()))?;
        let text = String::from_utf8_lossy(&bytes);
        commands.extend(from_cmd_text(&text, trees)?);
    }
    Ok(sorted(commands))
}

/// Reads the commands out of the text of one `.cmd` file: `cmd_FILE := COMMAND`, since 6.2 `savedcmd_FILE := COMMAND`,
/// escaped for make.
pub fn from_cmd_text(text: &str, trees: Trees<'_>) -> Result<Vec<CompileCommand>> {
    let mut commands = Vec::new();
    let Some((_, command)) = text.lines().next().and_then(|line| line.split_once(" := ")) else { return Ok(commands) };
    let command = command.replace("$(pound)", "#").replace("$$", "$");
    for part in recipe_parts(&command).filter(|part| may_compile(part)) {
        commands.extend(compile_command(part, trees)?);
    }
    Ok(commands)
}

fn sorted(mut commands: Vec<CompileCommand>) -> Vec<CompileCommand> {
    commands.sort_by(|a, b| (&a.source, &a.output, &a.object).cmp(&(&b.source, &b.output, &b.object)));
    commands.dedup();
    commands
}

/// Cheap test for text that can hold the command of a kernel TU.
fn may_compile(text: &str) -> bool {
    text.contains(" -D__KERNEL__ ") && text.contains(" -c ") && text.contains("-DKBUILD_MODNAME=")
}

/// Cuts a recipe at each `;` that no quote covers.
fn recipe_parts(line: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let mut escaped = false;
    line.split(move |c| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match (quote, c) {
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ';') => return true,
            _ => {}
        }
        false
    })
    .map(str::trim)
}

/// The first piece of shell syntax in a command that makes it more than a list of words.
fn shell_syntax(command: &str) -> Option<char> {
    let mut quote = None;
    let mut escaped = false;
    command.chars().find(|c| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match (quote, *c) {
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(*c),
            (Some(open), c) if open == c => quote = None,
            (Some('"'), '$' | '`') => return true,
            (None, '$' | '`' | '<' | '>' | '|' | '&' | '(' | ')' | ';' | '\n') => return true,
            _ => {}
        }
        false
    })
}

/// Takes one compiler command apart. Nothing for commands that make no kernel code of C (assembly, preprocessing, vDSO,
/// modules' generated `.mod.c`); more than one where the object is linked into several modules.
fn compile_command(command: &str, trees: Trees<'_>) -> Result<Vec<CompileCommand>> {
    let Some(words) = shlex::split(command) else {
        return refuse(KERNEL_INVALID, format!("the quotes of a compile command don't match: {command}"));
    };
    // Hidden behind something of the shell's, a unit would be missing without a word.
    if let (Some(c), Some(source)) = (shell_syntax(command), words.iter().rev().skip(1).find(|word| is_source(word)))
        && !is_outside_kernel(&relative(source, trees))
    {
        return refuse(KERNEL_INVALID, not_plain(source, c, command));
    }
    let Some(source) = words.last().filter(|word| is_source(word)) else {
        return Ok(Vec::new());
    };
    let source = relative(source, trees);
    if is_outside_kernel(&source) {
        return Ok(Vec::new());
    }
    if let Some(c) = shell_syntax(command) {
        return refuse(KERNEL_INVALID, not_plain(&source, c, command));
    }
    let mut words = words.into_iter().peekable();
    words.next_if(|word| matches!(word.rsplit('/').next(), Some("ccache" | "distcc" | "sccache")));
    let compiler = words.next().unwrap_or_default();
    if !options::is_compiler(&compiler, &[trees.source, trees.build]) {
        let message =
            format!("the compile command of {source} starts `{compiler}`, which isn't a GCC of this machine's");
        return refuse(KERNEL_INVALID, message);
    }
    let (mut args, mut output, mut modname, mut modular) = (Vec::new(), String::new(), String::new(), false);
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("-DKBUILD_MODNAME=") {
            modname = name.trim_matches('"').to_string();
        }
        modular |= word == "-DMODULE";
        match word.as_str() {
            "-o" => output = words.next().unwrap_or_default(),
            "-c" | "-fdump-ipa-clones" => {}
            w if w.starts_with("-Wp,-MMD,") || w.starts_with("-Wp,-MD,") => {}
            // The source, which comes last.
            _ if words.peek().is_none() => {}
            _ => args.push(word),
        }
    }
    let output = relative(&output, trees);
    if is_outside_kernel(&output) {
        return Ok(Vec::new());
    }
    let args = options::known(args)
        .or_else(|why| refuse(KERNEL_INVALID, format!("the compile command of {source} can't be taken over: {why}")))?;
    // An object of several modules is named `a:b` (scripts/Makefile.lib, modname-multi).
    let objects = if modular { modname.split(':').map(module_name).collect() } else { vec![VMLINUX.to_string()] };
    let command = |object| CompileCommand {
        source: source.clone(),
        output: output.clone(),
        compiler: compiler.clone(),
        args: args.clone(),
        object,
    };
    Ok(objects.into_iter().map(command).collect())
}

/// A C source, and none that modpost generated.
fn is_source(word: &str) -> bool {
    word.ends_with(".c") && !word.ends_with(".mod.c") && !word.contains(char::is_whitespace)
}

fn not_plain(source: &str, c: char, command: &str) -> String {
    format!("the compile command of {source} has shell syntax (`{c}`) and can't be reproduced: {command}")
}

/// A path relative to the source tree, or else to the build folder.
fn relative(path: &str, trees: Trees<'_>) -> String {
    let path = Path::new(path);
    let inner = path.strip_prefix(trees.source).or_else(|_| path.strip_prefix(trees.build)).unwrap_or(path);
    let inner = inner.strip_prefix(".").unwrap_or(inner);
    inner.to_string_lossy().into_owned()
}

const SCHEMA: u32 = 1;

/// `commands.json`. Kernel commands are 3 KB each and differ in little: arguments are numbered, and the lists without
/// their last few (what names the TU) are numbered again. 14 MB become less than 1.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    schema: u32,
    words: Vec<String>,
    lists: Vec<Vec<u32>>,
    commands: Vec<StoredCommand>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCommand {
    source: String,
    output: String,
    object: String,
    compiler: u32,
    list: u32,
    rest: Vec<u32>,
    /// The source as the build names it, where that has a `..` (KVM: `arch/x86/kvm/../../../virt/kvm/kvm_main.c`).
    #[serde(skip)]
    named: Option<String>,
}

/// The stored compile commands of a kernel; single ones are put together on request.
#[derive(Debug)]
pub struct Commands {
    stored: Stored,
    /// The kernel's source tree.
    tree: PathBuf,
}

impl Commands {
    /// Reads the commands of a kernel whose source lies in `tree`.
    pub fn read(path: &Path, tree: &Path) -> Result<Commands> {
        Commands::parse(&std::fs::read(path).map_err(io("read", path))?, path, tree)
    }

    /// Reads the text of a `commands.json`; `path` is its name for messages.
    pub fn parse(text: &[u8], path: &Path, tree: &Path) -> Result<Commands> {
        let invalid = |why: String| {
            let message = format!("{} is not usable ({why}); run `klp-extract prepare` again", path.display());
            Finding::new(KERNEL_INVALID, message)
        };
        let mut stored: Stored = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if stored.schema != SCHEMA {
            return Err(invalid(format!("its schema is {}, this program's is {SCHEMA}", stored.schema)).into());
        }
        let word = |id: &u32| (*id as usize) < stored.words.len();
        let sound = stored.lists.iter().flatten().all(word)
            && stored
                .commands
                .iter()
                .all(|c| word(&c.compiler) && (c.list as usize) < stored.lists.len() && c.rest.iter().all(word));
        if !sound {
            return Err(invalid("it refers to words that it doesn't have".into()).into());
        }
        for command in &mut stored.commands {
            // A patch names the file itself.
            if let Some(plain) = without_parents(&command.source) {
                command.named = Some(std::mem::replace(&mut command.source, plain));
            }
        }
        stored.commands.sort_by(|one, other| one.source.cmp(&other.source));
        Ok(Commands { stored, tree: tree.to_path_buf() })
    }

    /// The commands that compile `source`, as [`CompileCommand::source`] names it.
    pub fn of(&self, source: &str) -> Vec<CompileCommand> {
        self.stored.commands.iter().filter(|c| c.source == source).map(|c| self.command(c)).collect()
    }

    pub fn all(&self) -> Vec<CompileCommand> {
        self.stored.commands.iter().map(|c| self.command(c)).collect()
    }

    /// The arguments that most units share.
    pub fn common(&self) -> std::collections::BTreeSet<&str> {
        let mut uses = vec![0usize; self.stored.lists.len()];
        for command in &self.stored.commands {
            uses[command.list as usize] += 1;
        }
        let most = uses.iter().enumerate().max_by_key(|(_, count)| **count).map(|(list, _)| list);
        let words = most.map_or(&[][..], |list| &self.stored.lists[list]);
        words.iter().map(|id| self.stored.words[*id as usize].as_str()).collect()
    }

    /// Every source there is, once each, sorted.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let mut previous = "";
        self.stored
            .commands
            .iter()
            .map(|c| c.source.as_str())
            .filter(move |source| std::mem::replace(&mut previous, source) != *source)
    }

    fn command(&self, stored: &StoredCommand) -> CompileCommand {
        let word = |id: &u32| self.stored.words[*id as usize].clone();
        let mut args: Vec<String> =
            self.stored.lists[stored.list as usize].iter().chain(&stored.rest).map(word).collect();
        if let Some((named, _)) = stored.named.as_deref().and_then(|named| named.rsplit_once('/')) {
            // `__FILE__` stays as the build has it, in a tree that is built in itself too.
            let folder = stored.source.rsplit_once('/').map_or("", |(folder, _)| folder);
            args.push(format!("-fmacro-prefix-map={folder}/={named}/"));
            args.push(format!("-fmacro-prefix-map={}/{folder}/={named}/", self.tree.display()));
        }
        CompileCommand {
            source: stored.source.clone(),
            output: stored.output.clone(),
            compiler: word(&stored.compiler),
            args,
            object: stored.object.clone(),
        }
    }
}

/// A path with a `..` in it, without; `None` where there is none, or where it leads out of the tree. Lexical: the folders of
/// the kernel's source are no links.
fn without_parents(path: &str) -> Option<String> {
    if !path.split('/').any(|part| part == "..") {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The text of `commands.json`.
pub fn to_json(commands: &[CompileCommand]) -> String {
    let mut words = Numbering::default();
    let mut lists = Numbering::default();
    let stored = commands.iter().map(|command| {
        let ids: Vec<u32> = command.args.iter().map(|arg| words.number(arg.clone())).collect();
        let unique = command.args.iter().position(|arg| arg.starts_with("-DKBUILD_")).unwrap_or(ids.len());
        StoredCommand {
            source: command.source.clone(),
            output: command.output.clone(),
            object: command.object.clone(),
            compiler: words.number(command.compiler.clone()),
            list: lists.number(ids[..unique].to_vec()),
            rest: ids[unique..].to_vec(),
            named: None,
        }
    });
    let stored: Vec<StoredCommand> = stored.collect();
    let stored = Stored { schema: SCHEMA, words: words.values(), lists: lists.values(), commands: stored };
    serde_json::to_string(&stored).expect("strings and numbers always serialise")
}

/// Numbers distinct values in the order of their first use.
struct Numbering<T>(BTreeMap<T, u32>);

impl<T> Default for Numbering<T> {
    fn default() -> Self {
        Numbering(BTreeMap::new())
    }
}

impl<T: Ord> Numbering<T> {
    fn number(&mut self, value: T) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(value).or_insert(next)
    }

    fn values(self) -> Vec<T> {
        let mut values: Vec<(T, u32)> = self.0.into_iter().collect();
        values.sort_by_key(|(_, number)| *number);
        values.into_iter().map(|(value, _)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees() -> Trees<'static> {
        Trees { source: Path::new("/s"), build: Path::new("/b") }
    }

    fn recipe(object: &str, source: &str, more: &str) -> String {
        format!(
            "set -e;  echo '  CC      {object}';    trap 'rm -f {object}; trap - HUP; kill -s HUP $$' HUP; gcc-12 \
             -Wp,-MMD,d/.x.o.d -nostdinc -I/s/include -I./include -D__KERNEL__ -O2 -fdump-ipa-clones {more} -c -o {object} {source}   ; \
             ./tools/objtool/objtool --orc {object}; scripts/basic/fixdep d/.x.o.d {object} 'gcc -D__KERNEL__ -c ; $(x)' > d/.x.o.cmd\n"
        )
    }

    #[test]
    fn reads_recipes_of_make() {
        let text = [
            recipe("net/unix/af_unix.o", "/s/net/unix/af_unix.c", "-DKBUILD_MODNAME='\"unix\"'"),
            recipe("arch/x86/kvm/svm.o", "/s/arch/x86/kvm/svm.c", "-DMODULE -DKBUILD_MODNAME='\"kvm-amd\"'"),
            recipe("d/both.o", "/s/d/both.c", "-DMODULE -DKBUILD_MODNAME='\"one:two\"'"),
            recipe("lib/crc.o", "lib/crc.c", "-I/tmp/scratch/lib -DKBUILD_MODNAME='\"crc\"'"),
            recipe("lib/entry.o", "/s/lib/entry.S", "-DKBUILD_MODNAME='\"crc\"'"),
            recipe("arch/x86/boot/cmdline.o", "/s/arch/x86/boot/cmdline.c", "-DKBUILD_MODNAME='\"cmdline\"'"),
            "gcc -O2 -c -o scripts/x.o scripts/x.c\n".into(),
        ]
        .concat();
        let commands = from_make_output(&text, trees(), Path::new("/tmp/scratch")).unwrap();
        let short: Vec<(&str, &str, &str)> =
            commands.iter().map(|c| (c.source.as_str(), c.output.as_str(), c.object.as_str())).collect();
        assert_eq!(
            short,
            [
                ("arch/x86/kvm/svm.c", "arch/x86/kvm/svm.o", "kvm_amd"),
                ("d/both.c", "d/both.o", "one"),
                ("d/both.c", "d/both.o", "two"),
                ("lib/crc.c", "lib/crc.o", "vmlinux"),
                ("net/unix/af_unix.c", "net/unix/af_unix.o", "vmlinux"),
            ]
        );
        assert_eq!(commands[4].compiler, "gcc-12");
        assert_eq!(
            commands[4].args,
            ["-nostdinc", "-I/s/include", "-I./include", "-D__KERNEL__", "-O2", "-DKBUILD_MODNAME=\"unix\""]
        );
        assert!(commands[3].args.contains(&"-I/b/lib".to_string()));
    }

    #[test]
    fn refuses_shell_syntax_in_a_compiler_command() {
        for bad in ["$(cat x)", "`cat x`", "2>log", "-DX=\"$y\"", "| cat"] {
            let more = format!("{bad} -DKBUILD_MODNAME='\"x\"'");
            let text = recipe("d/x.o", "/s/d/x.c", &more);
            let error = from_make_output(&text, trees(), Path::new("/t")).unwrap_err().to_string();
            assert!(error.contains("shell syntax") && error.contains("d/x.c"), "{bad}: {error}");
        }
    }

    #[test]
    fn reads_cmd_files_of_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, variable: &str| {
            let command =
                format!("gcc -D__KERNEL__ -DX='$(pound)$$' -DKBUILD_MODNAME='\"{name}\"' -c -o {name}.o {name}.c");
            let text =
                format!("{variable}_{name}.o := {command} ; ./objtool {name}.o\n\nsource_{name}.o := {name}.c\n");
            std::fs::write(folder.path().join(format!(".{name}.o.cmd")), text).unwrap();
        };
        write("old", "cmd");
        write("new", "savedcmd");
        let commands = from_cmd_files(Trees { source: Path::new("/s"), build: folder.path() }).unwrap();
        assert_eq!(commands.len(), 2);
        assert!(commands[0].args.contains(&"-DX=#$".to_string()));
    }

    #[test]
    fn stores_and_finds() {
        let text = [
            recipe("a/one.o", "/s/a/one.c", "-DKBUILD_MODNAME='\"one\"'"),
            recipe("a/two.o", "/s/a/two.c", "-DMODULE -DKBUILD_MODNAME='\"two\"'"),
        ]
        .concat();
        let commands = from_make_output(&text, trees(), Path::new("/t")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), to_json(&commands)).unwrap();
        let read = Commands::read(file.path(), Path::new("/s")).unwrap();
        assert_eq!(read.all(), commands);
        assert_eq!(read.of("a/two.c"), [commands[1].clone()]);
        assert_eq!(read.sources().collect::<Vec<_>>(), ["a/one.c", "a/two.c"]);
        std::fs::write(file.path(), to_json(&commands).replace("\"schema\":1", "\"schema\":9")).unwrap();
        assert!(Commands::read(file.path(), Path::new("/s")).unwrap_err().to_string().contains("schema is 9"));
        std::fs::write(file.path(), to_json(&commands).replace("\"list\":0", "\"list\":77")).unwrap();
        assert!(Commands::read(file.path(), Path::new("/s")).unwrap_err().to_string().contains("doesn't have"));
    }

    #[test]
    fn a_source_that_the_build_reaches_through_another_folder_is_found_by_its_own_name() {
        let text = [
            recipe("a/x/one.o", "/s/a/x/../../virt/one.c", "-DKBUILD_MODNAME='\"one\"'"),
            recipe("b/two.o", "/s/b/two.c", "-DKBUILD_MODNAME='\"two\"'"),
        ]
        .concat();
        let file = tempfile::NamedTempFile::new().unwrap();
        let commands = from_make_output(&text, trees(), Path::new("/t")).unwrap();
        std::fs::write(file.path(), to_json(&commands)).unwrap();
        let read = Commands::read(file.path(), Path::new("/s")).unwrap();
        assert_eq!(read.sources().collect::<Vec<_>>(), ["b/two.c", "virt/one.c"]);
        let [command] = read.of("virt/one.c").try_into().unwrap();
        assert_eq!(command.output, "a/x/one.o");
        assert!(command.args.contains(&"-fmacro-prefix-map=/s/virt/=a/x/../../virt/".to_string()));
    }
}
