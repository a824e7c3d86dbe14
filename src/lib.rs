//! klp-extract makes reviewable Linux kernel livepatch modules from a patch and a kernel.
//!
//! [`pipeline`] reads top to bottom: one line a stage, each stage a module named after what it yields.

pub mod affected;
pub mod audit;
pub mod bundle;
pub mod cache;
pub mod candidates;
pub mod check;
pub mod cli;
pub mod closure;
pub mod command_line;
pub mod config;
pub mod differ;
pub mod edits;
pub mod finding;
pub mod folder;
pub mod impact;
pub mod judge;
pub mod kernel;
pub mod link;
pub mod linkage;
pub mod object;
pub mod parallel;
pub mod patch;
pub mod pipeline;
pub mod prepare;
pub mod process;
pub mod refresh;
pub mod render;
pub mod review;
pub mod rewrite;
pub mod scratch;
pub mod sweep;
pub mod unit;
pub mod vm;
