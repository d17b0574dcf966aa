//! What is written as it comes: lines of text, with `SGR` or without, and output.

use std::io::Write;

use super::{ExportError, Exporter, Item};

/// See the module's head.
pub(super) struct Plain;

impl Exporter for Plain {
    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }

    fn take(&mut self, item: Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        match item {
            Item::Lines(data) | Item::Output { data, .. } => Ok(out.write_all(data)?),
            Item::Screen { .. } | Item::Resized { .. } | Item::Missing { .. } => Ok(()),
        }
    }

    fn finish(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }
}
