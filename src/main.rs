//! The `kaval` binary: a launcher when it stands in for a child, else the command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == kaval_actors::pty::launch::ARGUMENT) {
        let rest: Vec<_> = args.collect();
        return ExitCode::from(u8::try_from(kaval_actors::pty::launch::run(&rest)).unwrap_or(126));
    }
    kaval::cli::run()
}
