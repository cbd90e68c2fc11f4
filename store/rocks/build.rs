//! Compiles the Env shim against the headers of the RocksDB that is linked.

use std::path::PathBuf;

fn main() {
    const SHIM: &str = "shim/encrypting_env.cc";
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=build.rs");
    #[expect(
        clippy::disallowed_methods,
        reason = "a build script is configured by its environment"
    )]
    let sources = std::env::var("DEP_ROCKSDB_CARGO_MANIFEST_DIR");
    let sources = PathBuf::from(sources.expect("librocksdb-sys is a direct dependency"));
    let mut shim = cc::Build::new();
    if cfg!(feature = "testing") {
        shim.define("READVAULT_TESTING", None);
    }
    shim.cpp(true)
        .include(sources.join("rocksdb/include"))
        // What RocksDB itself was compiled with: these change the layout of its classes.
        .define("NDEBUG", "1")
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .define("ROCKSDB_LIB_IO_POSIX", None)
        .define("HAVE_ALIGNED_NEW", None)
        .flag("-std=c++20")
        .flag("-fno-rtti")
        .flag("-includecstdint")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-missing-field-initializers")
        .file(SHIM)
        .compile("readvault_encrypting_env");
}
