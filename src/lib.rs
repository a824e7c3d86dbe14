//! klp-extract makes reviewable Linux kernel livepatch modules from a patch and a kernel.
//!
//! [`pipeline`] reads top to bottom: one line a stage, each stage a module named after what it yields.

pub mod affected;
pub mod cli;
pub mod closure;
pub mod finding;
pub mod kernel;
pub mod prepare;
pub mod patch;
pub mod object;
pub mod process;
pub mod unit;
pub mod link;
pub mod process;
pub mod vm;
