//! The only place that starts programs. Arguments are lists; no shell is ever involved.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::finding::{Finding, Result, TOOL_FAILED, TOOL_MISSING, io, refuse};

/// Process groups under way, ended by [`end_all`] when the user interrupts.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Ends every program under way, with its own children; none is started any more.
pub fn end_all() {
    let running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
    // GCC removes its temporary files on SIGTERM.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for pid in running.iter() {
            let _ = killpg(Pid::from_raw(*pid), signal);
        }
        std::thread::sleep(Duration::from_millis(if running.is_empty() { 0 } else { 50 }));
    }
    std::mem::forget(running);
}

/// The most that a program may print, in bytes, unless told.
const OUTPUT_LIMIT: u64 = 2 << 30;

/// The longest that a compiler may take for one unit, in seconds; the slowest units of the kernel take about 20.
const COMPILER_LIMIT: u64 = 600;

/// Address space that a compiler may have, in bytes; the largest units of the kernel take less than 2 GB.
const COMPILER_MEMORY: u64 = 8 << 30;

/// The variable of the environment that sets another limit, in seconds.
pub const COMPILER_LIMIT_VARIABLE: &str = "KLP_EXTRACT_COMPILER_LIMIT";

/// A program to run, with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Program {
    program: OsString,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
    time_limit: Option<Duration>,
    memory_limit: Option<u64>,
    output_limit: (u64, &'static str),
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    /// The exit status; that of a shell where a signal ended it.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Program {
        Program {
            program: program.as_ref().into(),
            args: Vec::new(),
            folder: None,
            environment: Vec::new(),
            input: None,
            time_limit: None,
            memory_limit: None,
            output_limit: (OUTPUT_LIMIT, ""),
        }
    }

    /// A compiler, which is ended when it hangs.
    pub fn compiler(program: impl AsRef<OsStr>) -> Program {
        let set = std::env::var(COMPILER_LIMIT_VARIABLE).ok().and_then(|value| value.parse().ok());
        let program = Program::new(program).time_limit(Duration::from_secs(set.unwrap_or(COMPILER_LIMIT)));
        Program { memory_limit: Some(COMPILER_MEMORY), ..program }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.args.push(arg.as_ref().into());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Program {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    /// Working directory.
    pub fn folder(mut self, folder: &Path) -> Program {
        self.folder = Some(folder.to_path_buf());
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    /// What the program reads from its standard input; nothing unless told.
    pub fn input(mut self, input: Vec<u8>) -> Program {
        self.input = Some(input);
        self
    }

    /// The program is ended, and the run is an error, after this long.
    pub fn time_limit(mut self, limit: Duration) -> Program {
        self.time_limit = Some(limit);
        self
    }

    /// The program is ended, and the run is an error, when it prints more than so many bytes; `why` is what that means.
    pub fn output_limit(mut self, limit: u64, why: &'static str) -> Program {
        self.output_limit = (limit, why);
        self
    }

    /// Runs it to its end; a non-zero exit status is no error here.
    pub fn output(self) -> Result<Output> {
        use std::os::unix::process::CommandExt as _;
        let name = self.program.to_string_lossy().into_owned();
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).envs(self.environment.iter().map(|(k, v)| (k, v)));
        // The compiler's messages and the order of sorted names must not depend on the user's language.
        command.env("LC_ALL", "C");
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(limit) = self.memory_limit {
            let limited = move || Ok(setrlimit(Resource::RLIMIT_AS, limit, limit)?);
            #[allow(unsafe_code, reason = "nothing else limits the memory of a program that is started")]
            // SAFETY: setrlimit(2) is async-signal-safe, and nothing else happens between fork and exec.
            unsafe {
                command.pre_exec(limited)
            };
        }
        let mut running = RUNNING.lock().unwrap_or_else(|e| e.into_inner());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return refuse(
                    TOOL_MISSING,
                    format!("cannot start {name}: {e}; `klp-extract doctor` says what to install"),
                );
            }
            Err(e) => return Err(io("start", Path::new(&self.program))(e)),
        };
        let pid = child.id() as i32;
        running.insert(pid);
        drop(running);
        let result = self.wait(child, &name);
        RUNNING.lock().unwrap_or_else(|e| e.into_inner()).remove(&pid);
        result
    }

    fn wait(self, mut child: Child, name: &str) -> Result<Output> {
        use std::os::unix::process::ExitStatusExt as _;
        let pid = child.id() as i32;
        let stdin = child.stdin.take();
        let input = self.input.unwrap_or_default();
        let done = std::sync::Arc::new((Mutex::new(false), std::sync::Condvar::new()));
        let timed_out = std::sync::atomic::AtomicBool::new(false);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (limit, why) = self.output_limit;
        // What it prints to one of its outputs; nothing where that is too much.
        fn all(pipe: Option<impl Read>, limit: u64, pid: i32) -> std::io::Result<Option<Vec<u8>>> {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                pipe.take(limit + 1).read_to_end(&mut bytes)?;
            }
            if bytes.len() as u64 > limit {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                return Ok(None);
            }
            Ok(Some(bytes))
        }
        let result = std::thread::scope(|scope| {
            if let Some(mut pipe) = stdin {
                // A program that doesn't read its input is judged by its exit status alone.
                scope.spawn(move || drop(pipe.write_all(&input)));
            }
            if let Some(limit) = self.time_limit {
                let done = done.clone();
                let timed_out = &timed_out;
                scope.spawn(move || {
                    let guard = done.0.lock().unwrap_or_else(|e| e.into_inner());
                    let waited = done.1.wait_timeout_while(guard, limit, |done| !*done);
                    if waited.is_ok_and(|(_, timeout)| timeout.timed_out()) {
                        timed_out.store(true, std::sync::atomic::Ordering::SeqCst);
                        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                });
            }
            let errors = scope.spawn(move || all(stderr, limit, pid));
            let printed = all(stdout, limit, pid);
            let errors = errors.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let result = child.wait().and_then(|status| Ok((status, printed?, errors?)));
            *done.0.lock().unwrap_or_else(|e| e.into_inner()) = true;
            done.1.notify_all();
            result
        });
        if timed_out.load(std::sync::atomic::Ordering::SeqCst) {
            let limit = self.time_limit.unwrap_or_default().as_secs();
            return refuse(TOOL_FAILED, format!("{name} was still running after {limit} s and was ended"));
        }
        let (status, printed, errors) = result.map_err(io("wait for", Path::new(name)))?;
        let (Some(stdout), Some(stderr)) = (printed, errors) else {
            return refuse(TOOL_FAILED, format!("{name} printed more than {} MiB and was ended{why}", limit >> 20));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Output { success: status.success(), status: code, stdout, stderr })
    }

    /// Runs it to its end and yields its standard output; a non-zero exit status is an error that says what was being
    /// done (`doing`: "compile net/unix/af_unix.c") and shows the last lines that the program printed.
    pub fn run(self, doing: &str) -> Result<Vec<u8>> {
        let name = self.program.to_string_lossy().into_owned();
        let output = self.output()?;
        if output.success {
            return Ok(output.stdout);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
        Err(Finding::new(TOOL_FAILED, format!("{name} failed to {doing}:\n  {tail}")).into())
    }
}
