//! `klp-extract templates` and `klp-extract config`: what a house wants in all its modules.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, House};
use crate::finding::{Result, TEMPLATE, USAGE, io, refuse};
use crate::render;

use super::print;

#[derive(Args)]
pub(super) struct Templates {
    /// Write the program's own templates into this folder, to be changed there and used with `--templates`
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Config {
    /// Say which file each value is from
    #[arg(long)]
    show_origin: bool,
}

pub(super) fn templates(request: &Templates) -> Result<ExitCode> {
    let Some(folder) = &request.export else {
        render::TEMPLATES.iter().for_each(|(name, _)| print(&format!("{name}\n")));
        return Ok(ExitCode::SUCCESS);
    };
    if let Some((name, _)) = render::TEMPLATES.iter().find(|(name, _)| folder.join(name).exists()) {
        return refuse(USAGE, format!("{} is there already and is left as it is", folder.join(name).display()));
    }
    std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    for (name, text) in render::TEMPLATES {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(io("write", &path))?;
        print(&format!("{}\n", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn config(request: &Config) -> Result<ExitCode> {
    for setting in config::load()?.1 {
        let origin = if request.show_origin { format!("  # {}", setting.origin) } else { String::new() };
        print(&format!("{} = {:?}{origin}\n", setting.key, setting.value));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the configuration and `--templates` say.
pub(super) fn house(templates: Option<&Path>) -> Result<House> {
    let mut house = config::load()?.0;
    let Some(folder) = templates else { return Ok(house) };
    for (name, _) in render::TEMPLATES {
        let path = folder.join(name);
        if path.is_file() {
            let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
            house.templates.insert(name.into(), text);
        }
    }
    if house.templates.is_empty() {
        let names: Vec<&str> = render::TEMPLATES.iter().map(|(name, _)| *name).collect();
        return refuse(TEMPLATE, format!("{} has none of {}", folder.display(), names.join(", ")));
    }
    Ok(house)
}
