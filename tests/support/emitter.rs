//! A child that writes bytes which never repeat, and keeps its own record of what it wrote.
//!
//! `emitter MODE SEED RECORD STOP EXIT`: MODE is `flood`, `count` or `trickle`. It puts its terminal into raw mode, so that what it
//! writes is what arrives, goes on until the file STOP is there, and ends with code EXIT.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::Path,
    process::exit,
    thread,
    time::Duration,
};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Most bytes of a flood: it then trickles, so that a test's memory is bounded.
const FLOOD_BYTES_MAX: u64 = 40 << 20;

/// A generator whose output, in groups of eight, does not repeat (xorshift, period 2^64 - 1).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> [u8; 8] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Printable, so that the screen shows it too; a newline now and then.
        let bytes = self.0.to_le_bytes().map(|byte| 0x21 + byte % 94);
        if self.0.is_multiple_of(11) {
            [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], b'\r', b'\n']
        } else {
            bytes
        }
    }

    fn fill(&mut self, buffer: &mut Vec<u8>, len: usize) {
        buffer.clear();
        while buffer.len() < len {
            buffer.extend_from_slice(&self.next());
        }
    }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [mode, seed, record, stop, code] = &args[..] else { panic!("emitter MODE SEED RECORD STOP EXIT") };
    let mut terminal = tcgetattr(io::stdin())?;
    terminal.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Now, &terminal)?;

    let mut record = File::create(record)?;
    let mut stream = Stream(seed.parse::<u64>().expect("a number").wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut buffer, mut written, mut line) = (Vec::new(), 0u64, 0u64);
    while !Path::new(stop).exists() {
        match mode.as_str() {
            "flood" if written < FLOOD_BYTES_MAX => stream.fill(&mut buffer, 16 * 1024),
            "count" => {
                line += 1;
                buffer = format!("{seed}:{line}\r\n").into_bytes();
                thread::sleep(Duration::from_micros(300));
            }
            _ => {
                stream.fill(&mut buffer, 8);
                thread::sleep(Duration::from_millis(2));
            }
        }
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let n = rustix::io::retry_on_intr(|| rustix::io::write(io::stdout(), rest))?;
            record.write_all(&rest[..n])?;
            written += n as u64;
            rest = &rest[n..];
        }
    }
    exit(code.parse().expect("a number"));
}
