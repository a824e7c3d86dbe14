//! What is known of a prepared kernel: compile commands, objects, symbol tables, exports, configuration.

pub mod command;
pub mod symbols;
