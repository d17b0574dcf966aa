//! A PDF's body and its table of where everything is (ISO 32000-1, 7.5), written as it comes.
//!
//! ```text
//!   header │ object │ object │ … │ xref: where each begins │ trailer
//! ```
//!
//! **Invariants.** An object is written once, and is not kept: of each, eight bytes are. A reference may be given before its object is written.

use std::io::{self, Write};

use pdf_writer::{Chunk, Filter, Ref, Settings};

/// Binary in the second line has programs take it for no text.
const HEADER: &[u8] = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n";
/// What its table can name: ten digits.
pub(super) const BYTES_MAX: u64 = 9_999_999_999;
/// Fast, at some tenth more bytes than the default.
const COMPRESSION: u32 = 3;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Where each begins, by its number less one.
    offsets: Vec<u64>,
    written: u64,
}

impl Objects {
    pub(super) fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write(HEADER, out)
    }

    /// A reference to an object that is to come.
    pub(super) fn reserve(&mut self) -> Ref {
        self.offsets.push(0);
        Ref::new(i32::try_from(self.offsets.len()).unwrap_or(i32::MAX))
    }

    /// Bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes an object.
    pub(super) fn put(&mut self, id: Ref, fill: impl FnOnce(&mut Chunk), out: &mut dyn Write) -> io::Result<()> {
        let mut chunk = Chunk::with_settings(Settings { pretty: false });
        fill(&mut chunk);
        self.offsets[id.get() as usize - 1] = self.written;
        self.write(chunk.as_bytes(), out)
    }

    /// Writes a stream, compressed; what its dictionary says beside that.
    pub(super) fn put_stream(
        &mut self,
        id: Ref,
        data: &[u8],
        describe: impl FnOnce(&mut pdf_writer::Stream<'_>),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(COMPRESSION));
        encoder.write_all(data)?;
        let data = encoder.finish()?;
        let fill = |chunk: &mut Chunk| {
            let mut stream = chunk.stream(id, &data);
            describe(stream.filter(Filter::FlateDecode));
        };
        self.put(id, fill, out)
    }

    /// Writes the table and the trailer. Every reference has its object by now.
    pub(super) fn finish(&mut self, catalog: Ref, info: Ref, out: &mut dyn Write) -> io::Result<()> {
        let (start, size) = (self.written, self.offsets.len() + 1);
        let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
        for offset in &self.offsets {
            table.push_str(&format!("{offset:010} 00000 n \n"));
            if table.len() > 64 << 10 {
                out.write_all(table.as_bytes())?;
                table.clear();
            }
        }
        out.write_all(table.as_bytes())?;
        let (catalog, info) = (catalog.get(), info.get());
        write!(out, "trailer\n<</Size {size}/Root {catalog} 0 R/Info {info} 0 R>>\nstartxref\n{start}\n%%EOF\n")
    }

    fn write(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.written += bytes.len() as u64;
        out.write_all(bytes)
    }
}
