pub fn libclang() -> Option<std::path::PathBuf> {
    Some("/usr/lib/llvm-19/lib/libclang-19.so.1".into())
}
