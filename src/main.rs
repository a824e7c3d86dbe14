//! The `klp-extract` program: everything is in the library, `cli` is its only door.

fn main() -> std::process::ExitCode {
    klp_extract::cli::main()
}
