//! Loads the modules of a sweep.

use std::path::Path;

use crate::finding::{Result, USAGE, VM_TRANSITION_STUCK, io, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::VMLINUX;
use crate::vm::series::{self, Item, Outcome};

use super::{Row, Status, module_name};

/// Is there a module to load, one that was built and refers to the running kernel?
pub fn can_be(row: &Row) -> bool {
    row.status == Status::Built && row.externals > 0
}

/// Loads the modules, which are in the folders of their numbers in `scratch`; yields the rows with how that went.
pub fn load(kernel: &Kernel, mut made: Vec<(usize, Row)>, scratch: &Path) -> Result<Vec<(usize, Row)>> {
    let mut items = Vec::new();
    for (number, row) in &made {
        let name = module_name(*number);
        let target_modules = match row.object.as_str() {
            VMLINUX => Vec::new(),
            module => kernel.modules()?.load_order(module)?,
        };
        let livepatch = scratch.join(number.to_string()).join(&name).join(format!("{name}.ko"));
        items.push(Item { livepatch, name, target_modules });
    }
    let Some((first, _)) = made.first() else { return Ok(made) };
    let Some(image) = &kernel.descriptor.image else {
        return refuse(USAGE, format!("{} was prepared without an image to boot", kernel.descriptor.name));
    };
    let folder = scratch.join(format!("load-{first}"));
    std::fs::create_dir(&folder).map_err(io("create", &folder))?;
    let outcomes = series::run(image, &items, &folder, &mut |_| ())?;
    let _ = std::fs::remove_dir_all(&folder);
    for ((_, row), outcome) in made.iter_mut().zip(outcomes) {
        match outcome {
            Outcome::Passed => row.status = Status::Loaded,
            Outcome::TargetAbsent(why) => row.message = Some(format!("{} can't be loaded here: {why}", row.object)),
            Outcome::Failed(finding) if finding.id == VM_TRANSITION_STUCK && row.may_stall => {
                row.status = Status::Stuck
            }
            Outcome::Failed(finding) => {
                row.status = Status::Failed;
                row.class = Some(finding.id.0.id.into());
                row.message = Some(finding.to_string());
            }
        }
    }
    Ok(made)
}
