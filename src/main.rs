//! The `kaval` binary: a launcher when it stands in for a child, else the command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Samples the heap, once in 512 KiB: cheap enough to be there before anybody knows that it is needed.
#[allow(unsafe_code)]
// SAFETY: the allocator reads a text that ends in 0 from the symbol of that name, once, and there is no other.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"prof:true,prof_active:true,lg_prof_sample:19\0";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == kaval_actors::pty::launch::ARGUMENT) {
        let rest: Vec<_> = args.collect();
        return ExitCode::from(u8::try_from(kaval_actors::pty::launch::run(&rest)).unwrap_or(126));
    }
    kaval::cli::run()
}
