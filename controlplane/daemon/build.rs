//! With static probes, keeps code in segments of its own: where it shares one with the file's head, as lld lays it out, the
//! kernel takes the probes' file offsets for those of a mapping that is not executable, and they count nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_USDT").is_some() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,separate-code");
    }
}
