//! Which files of some folders are opened, by whatever process: inotify(7).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::finding::{Finding, Result, TOOL_FAILED, refuse};

/// How long to wait where nothing has happened. The kernel keeps 16,384 events (fs.inotify.max_queued_events).
const PAUSE: Duration = Duration::from_millis(2);

/// Runs something, and yields with its result the files below `roots` that were opened meanwhile. Symbolic links are not
/// followed: what they lead to is told where it lies.
pub(super) fn opened<T: Send>(
    roots: &[&Path],
    run: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, BTreeSet<PathBuf>)> {
    let failed = |error: Errno| match error {
        Errno::ENOSPC => Finding::new(
            TOOL_FAILED,
            "the kernel's tree has more folders than inotify may watch; raise it: sysctl fs.inotify.max_user_watches=500000",
        ),
        _ => Finding::new(TOOL_FAILED, format!("inotify: {error}")),
    };
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(failed)?;
    let mut folders: BTreeMap<WatchDescriptor, PathBuf> = BTreeMap::new();
    for root in roots {
        for entry in walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_dir()) {
            let watch = inotify.add_watch(entry.path(), AddWatchFlags::IN_OPEN).map_err(failed)?;
            folders.insert(watch, entry.into_path());
        }
    }
    let done = AtomicBool::new(false);
    let watch = || -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        loop {
            let is_done = done.load(Ordering::Acquire);
            match inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                            return refuse(TOOL_FAILED, "more files were opened at once than inotify can tell of");
                        }
                        let Some(name) = event.name.filter(|_| !event.mask.contains(AddWatchFlags::IN_ISDIR)) else {
                            continue;
                        };
                        found.extend(folders.get(&event.wd).map(|folder| folder.join(name)));
                    }
                }
                Err(Errno::EAGAIN) if is_done => return Ok(found),
                Err(Errno::EAGAIN | Errno::EINTR) => std::thread::sleep(PAUSE),
                Err(error) => return Err(failed(error).into()),
            }
        }
    };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let result = run();
        done.store(true, Ordering::Release);
        let found = watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((result?, found))
    })
}
