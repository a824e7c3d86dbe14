//! `Module.symvers`: what vmlinux and the modules export.
//!
//! One line a symbol, five fields separated by tabs: CRC, symbol, exporting object, kind of export, namespace (which may
//! be missing or empty) (scripts/mod/modpost.c, write_dump() and read_dump()).

use std::path::Path;

use crate::finding::{Finding, KERNEL_INVALID, Result, io};
use crate::kernel::symbols::{Export, Exports};

pub fn read(path: &Path) -> Result<Exports> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    parse(&text).map_err(|(line, why)| {
        let message = format!("{} is not a valid Module.symvers: {why}", path.display());
        Finding::new(KERNEL_INVALID, message).at(path.display().to_string(), Some(line)).into()
    })
}

/// The name that the kernel has for the module whose object (`arch/x86/kvm/kvm-amd`, `kvm-amd.ko`) is given: last part,
/// no suffix, `_` for `-` (scripts/Makefile.lib, name-fix-token).
pub fn module_name(object: &str) -> String {
    let last = object.rsplit('/').next().unwrap_or(object);
    last.strip_suffix(".ko").unwrap_or(last).replace(['-', ','], "_")
}

/// Reads the text of a `Module.symvers`; the error is the line and what is wrong with it.
pub fn parse(text: &str) -> std::result::Result<Exports, (u32, String)> {
    let mut exports = Exports::new();
    for (number, line) in (1..).zip(text.lines()) {
        let (symbol, export) = parse_line(line).map_err(|why| (number, why))?;
        if let Some(first) = exports.insert(symbol.into(), export) {
            return Err((number, format!("{symbol} is exported twice, first by {}", first.object)));
        }
    }
    Ok(exports)
}

fn parse_line(line: &str) -> std::result::Result<(&str, Export), String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [crc, symbol, object, kind, namespace @ ..] = fields.as_slice() else {
        return Err(format!("expected CRC, symbol, object and kind separated by tabs, found {} fields", fields.len()));
    };
    let digits = crc.strip_prefix("0x").unwrap_or(crc);
    let crc = u32::from_str_radix(digits, 16).map_err(|_| format!("`{crc}` is no CRC"))?;
    let gpl_only = match *kind {
        "EXPORT_SYMBOL" => false,
        "EXPORT_SYMBOL_GPL" => true,
        other => return Err(format!("`{other}` is no kind of export")),
    };
    if symbol.is_empty() || object.is_empty() || namespace.len() > 1 {
        return Err("a field is empty or there are too many".into());
    }
    let namespace = namespace.first().filter(|n| !n.is_empty()).map(|n| n.to_string());
    Ok((symbol, Export { object: module_name(object), crc, gpl_only, namespace }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_objects_as_livepatch_does() {
        let text = "0x1a2b3c4d\tkvm_get\tarch/x86/kvm/kvm-amd\tEXPORT_SYMBOL_GPL\t\n\
                    0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\n\
                    0x00000002\tdma_buf_get\tdrivers/dma-buf/x\tEXPORT_SYMBOL_GPL\tDMA_BUF\n";
        let exports = parse(text).unwrap();
        assert_eq!(
            exports["kvm_get"],
            Export { object: "kvm_amd".into(), crc: 0x1a2b_3c4d, gpl_only: true, namespace: None }
        );
        assert!(!exports["printk"].gpl_only);
        assert_eq!(exports["dma_buf_get"].namespace.as_deref(), Some("DMA_BUF"));
    }

    #[test]
    fn says_which_line_is_malformed() {
        let good = "0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\n";
        for bad in ["0x1\ta", "zz\tb\tvmlinux\tEXPORT_SYMBOL", "0x1\tb\tvmlinux\tEXPORT", "0x1\ta\tx/y\tEXPORT_SYMBOL"]
        {
            assert_eq!(parse(&format!("{good}{bad}\n")).unwrap_err().0, 2, "{bad}");
        }
    }
}
