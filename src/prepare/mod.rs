//! Makes prepared kernels: of Debian packages, or of the user's own tree.
//!
//! A prepared kernel is a folder `kernels/NAME` in the cache. Everything in it is made under another name and renamed, its
//! descriptor last, so that an interrupted run leaves nothing that looks whole and the next one goes on from there.
//! Nothing here needs to be root, and nothing is installed. Progress goes to a callback, a line a step.

mod build;
mod debian;
mod doctor;
pub mod kernels;
mod local;
mod packages;

pub use debian::debian;
pub use doctor::{Row, doctor, install_line};
pub use local::{LocalOptions, local};

use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::finding::{Finding, IO, Result, io};
use crate::kernel::image::{self, Image};
use crate::kernel::{self, Descriptor, write_whole};

/// Told what is being done, one line a step (`unpack linux-source-6.1 6.1.170-3`).
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// Held while a kernel's folder is changed; the lock ends with the value, or with the process.
struct Lock(#[allow(dead_code, reason = "held, never read")] Flock<std::fs::File>);

/// Creates the kernel's folder and waits until no other run works on it.
fn lock(name: &str, progress: Progress<'_>) -> Result<(PathBuf, Lock)> {
    let folder = kernel::folder_of(name)?;
    let all = folder.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(all).map_err(io("create", all))?;
    // Beside the folder, which `kernels remove` removes.
    let path = all.join(format!(".{name}.lock"));
    let open = || std::fs::File::options().create(true).append(true).open(&path).map_err(io("open", &path));
    let lock = match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err(_) => {
            progress(&format!("wait for another run that works on {name}"));
            Flock::lock(open()?, FlockArg::LockExclusive)
                .map_err(|(_, e)| Finding::new(IO, format!("cannot lock {}: {e}", path.display())))?
        }
    };
    Ok((folder, Lock(lock)))
}

/// The descriptor in a kernel's folder, if this program can use it and what it names is there.
fn finished(folder: &Path) -> Option<Descriptor> {
    let descriptor = Descriptor::read(&folder.join(kernel::DESCRIPTOR)).ok()?;
    let needed = [Some(&descriptor.commands), descriptor.image.as_ref(), descriptor.kallsyms.as_ref()];
    let there = needed.into_iter().flatten().all(|file| file.is_file());
    (there && descriptor.source.is_dir() && descriptor.build.is_dir()).then_some(descriptor)
}

/// Decodes an image and writes its symbols into the kernel's folder.
fn decode_image(image: &Path, folder: &Path, progress: Progress<'_>) -> Result<(Image, PathBuf)> {
    progress(&format!("decode kallsyms of {}", image.file_name().unwrap_or_default().to_string_lossy()));
    let decoded = image::read(image)?;
    let kallsyms = folder.join("kallsyms");
    write_whole(&kallsyms, kernel::kallsyms_text(&decoded.symbols).as_bytes())?;
    Ok((decoded, kallsyms))
}
