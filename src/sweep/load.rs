//! Loads the modules of a sweep.

use std::path::Path;

use crate::finding::{Result, USAGE, VM_TRANSITION_STUCK, refuse};
use crate::kernel::Kernel;
use crate::link::symbols_file::VMLINUX;
use crate::vm::series::{self, Item, Outcome};

use super::{Row, Status, module_name};

/// Loads each module that was built and refers to the running kernel, and says in its row how that went. The modules are in
/// the folders of their numbers in `scratch`.
pub fn load(kernel: &Kernel, made: &mut [(usize, Row)], scratch: &Path) -> Result<()> {
    let mut items = Vec::new();
    let mut loaded: Vec<&mut Row> = Vec::new();
    for (number, row) in made.iter_mut().filter(|(_, row)| row.status == Status::Built && row.externals > 0) {
        let name = module_name(*number);
        let target_modules = match row.object.as_str() {
            VMLINUX => Vec::new(),
            module => kernel.modules()?.load_order(module)?,
        };
        let livepatch = scratch.join(number.to_string()).join(&name).join(format!("{name}.ko"));
        items.push(Item { livepatch, name, target_modules });
        loaded.push(row);
    }
    if items.is_empty() {
        return Ok(());
    }
    let Some(image) = &kernel.descriptor.image else {
        return refuse(USAGE, format!("{} was prepared without an image to boot", kernel.descriptor.name));
    };
    let outcomes = series::run(image, &items, scratch, &mut |_| ())?;
    for (row, outcome) in loaded.into_iter().zip(outcomes) {
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
    Ok(())
}
