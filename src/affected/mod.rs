pub mod clones;
