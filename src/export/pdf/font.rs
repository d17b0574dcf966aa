//! The embedded font: as much of DejaVu Sans Mono as a document uses, and what every character is, be it in the font or not.
//!
//! ```text
//!   character ─► plane: which font of the document │ lower 16 bits: its code there (CID)
//!                code ─► CIDToGIDMap ─► glyph, a box where the font has none      code ─► ToUnicode ─► the character again
//! ```
//!
//! **Invariants.** A code is a character, whether or not there is a glyph for it: text can be selected and searched whatever it looks like. What is
//! kept grows with the font's glyphs, not with the text.

use std::{collections::BTreeMap, io::Write};

use pdf_writer::{
    Chunk, Finish, Name, Rect, Ref, Str,
    types::{CidFontType, FontFlags, SystemInfo},
};
use subsetter::GlyphRemapper;
use ttf_parser::Face;
use unicode_width::UnicodeWidthChar;

use super::objects::Objects;
use crate::export::ExportError;

const SYSTEM: SystemInfo<'_> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
const PLANES: usize = 17;
/// Ranges of a section of a CMap: Adobe Technical Note 5411, 1.4.
const RANGES_MAX: usize = 100;

/// The lengths of the font, where a character's height is 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metrics {
    /// How far a column is from the next.
    pub(super) advance: f32,
    /// From the line up, as far as what fills a whole cell goes.
    pub(super) ascent: f32,
    /// From the line down, likewise.
    pub(super) descent: f32,
}

const MISSING: char = '\u{25af}';

/// One weight of the font, and what is used of it.
pub(super) struct Font {
    name: &'static str,
    data: &'static [u8],
    face: Face<'static>,
    remapper: GlyphRemapper,
    /// What is drawn for what has no glyph. (Readers do not agree on whether to draw the font's own box.)
    missing: u16,
    /// Characters that have a glyph, by the number it has in the subset.
    glyphs: BTreeMap<char, u16>,
    /// Which characters are used, by plane.
    used: [Option<Box<Codes>>; PLANES],
}

/// A bit for each code of a plane.
type Codes = [u64; 1024];

impl Font {
    pub(super) fn regular() -> Result<Self, ExportError> {
        Self::new("KAVALR+DejaVuSansMono", dejavu::sans_mono::regular())
    }

    pub(super) fn bold() -> Result<Self, ExportError> {
        Self::new("KAVALB+DejaVuSansMono-Bold", dejavu::sans_mono::bold())
    }

    fn new(name: &'static str, data: &'static [u8]) -> Result<Self, ExportError> {
        let face = Face::parse(data, 0).map_err(|error| ExportError::Font(error.to_string()))?;
        let (mut remapper, glyphs) = (GlyphRemapper::new(), BTreeMap::new());
        let missing = remapper.remap(face.glyph_index(MISSING).map_or(0, |glyph| glyph.0));
        Ok(Self { name, data, face, remapper, missing, glyphs, used: [const { None }; PLANES] })
    }

    pub(super) fn metrics(&self) -> Metrics {
        let em = f32::from(self.face.units_per_em());
        let advance = self.face.glyph_index(' ').and_then(|glyph| self.face.glyph_hor_advance(glyph));
        Metrics {
            // Poppler knows a default width only if it is a whole number.
            advance: advance.map_or(0.6, |advance| (f32::from(advance) / em * 1000.0).round() / 1000.0),
            ascent: f32::from(self.face.ascender()) / em,
            descent: -f32::from(self.face.descender()) / em,
        }
    }

    /// Notes that a character is used; its plane and its code there.
    pub(super) fn code(&mut self, c: char) -> (usize, u16) {
        let (plane, code) = ((c as usize) >> 16, (c as u32 & 0xffff) as u16);
        let word = &mut self.used[plane].get_or_insert_with(|| Box::new([0; 1024]))[usize::from(code / 64)];
        let bit = 1 << (code % 64);
        if *word & bit == 0 {
            *word |= bit;
            if let Some(glyph) = self.glyph(c) {
                self.glyphs.insert(c, self.remapper.remap(glyph));
            }
        }
        (plane, code)
    }

    /// The font's glyph for a character. One that takes no column and is not in the font is drawn as nothing, rather than as a box over another.
    fn glyph(&self, c: char) -> Option<u16> {
        let shown = if self.face.glyph_index(c).is_none() && c.width().unwrap_or(0) == 0 { ' ' } else { c };
        self.face.glyph_index(shown).map(|glyph| glyph.0)
    }

    /// Writes what is used: a font for each plane, by plane.
    pub(super) fn write(&self, objects: &mut Objects, out: &mut dyn Write) -> Result<Vec<(usize, Ref)>, ExportError> {
        if self.used.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let subset = subsetter::subset(self.data, 0, &self.remapper).map_err(|error| ExportError::Font(error.to_string()))?;
        let (file, descriptor) = (objects.reserve(), objects.reserve());
        let length = subset.len() as i32;
        objects.put_stream(file, &subset, |stream| _ = stream.pair(Name(b"Length1"), length), out)?;
        objects.put(descriptor, |chunk| self.describe(chunk, descriptor, file), out)?;
        let mut written = Vec::new();
        for (plane, used) in self.used.iter().enumerate() {
            if let Some(used) = used {
                written.push((plane, self.write_plane(plane, used, descriptor, objects, out)?));
            }
        }
        Ok(written)
    }

    fn write_plane(
        &self,
        plane: usize,
        used: &Codes,
        descriptor: Ref,
        objects: &mut Objects,
        out: &mut dyn Write,
    ) -> Result<Ref, ExportError> {
        let [font, descendant, to_unicode, to_glyph] = std::array::from_fn(|_| objects.reserve());
        objects.put_stream(to_unicode, unicode_map(plane, used).as_bytes(), |_| {}, out)?;
        objects.put_stream(to_glyph, &self.glyph_map(plane), |_| {}, out)?;
        let name = Name(self.name.as_bytes());
        let fill = |chunk: &mut Chunk| {
            let mut cid_font = chunk.cid_font(descendant);
            cid_font.subtype(CidFontType::Type2).base_font(name).system_info(SYSTEM).font_descriptor(descriptor);
            cid_font.default_width((self.metrics().advance * 1000.0).round()).cid_to_gid_map_stream(to_glyph);
        };
        objects.put(descendant, fill, out)?;
        let fill = |chunk: &mut Chunk| {
            let mut type0 = chunk.type0_font(font);
            type0.base_font(name).encoding_predefined(Name(b"Identity-H")).descendant_font(descendant).to_unicode(to_unicode);
        };
        objects.put(font, fill, out)?;
        Ok(font)
    }

    fn describe(&self, chunk: &mut Chunk, id: Ref, file: Ref) {
        let scale = 1000.0 / f32::from(self.face.units_per_em());
        let bounds = self.face.global_bounding_box();
        let side = |units: i16| f32::from(units) * scale;
        let metrics = self.metrics();
        let mut descriptor = chunk.font_descriptor(id);
        descriptor.name(Name(self.name.as_bytes())).flags(FontFlags::FIXED_PITCH | FontFlags::SYMBOLIC);
        descriptor.bbox(Rect::new(side(bounds.x_min), side(bounds.y_min), side(bounds.x_max), side(bounds.y_max)));
        descriptor.italic_angle(0.0).ascent(metrics.ascent * 1000.0).descent(metrics.descent * -1000.0);
        descriptor.cap_height(self.face.capital_height().map_or(metrics.ascent * 1000.0, side)).stem_v(80.0);
        descriptor.font_file2(file).finish();
    }

    /// Two bytes for each code.
    fn glyph_map(&self, plane: usize) -> Vec<u8> {
        let mut map = self.missing.to_be_bytes().repeat(0x10000);
        for (c, glyph) in self.glyphs.iter().filter(|(c, _)| (**c as usize) >> 16 == plane) {
            let at = 2 * (*c as usize & 0xffff);
            map[at..at + 2].copy_from_slice(&glyph.to_be_bytes());
        }
        map
    }
}

/// Rows of 256 codes that are as many characters: ISO 32000-1, 9.10.3.
fn unicode_map(plane: usize, used: &Codes) -> String {
    let is_used = |row: &u32| used[*row as usize * 4..][..4] != [0; 4];
    let range = |row: u32| {
        // Rows of surrogates are never used.
        let first = char::from_u32((plane as u32) << 16 | row << 8).unwrap_or(char::REPLACEMENT_CHARACTER);
        let units: String = first.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("{unit:04x}")).collect();
        format!("<{row:02x}00><{row:02x}ff><{units}>\n")
    };
    let ranges: Vec<String> = (0..256).filter(is_used).map(range).collect();
    let section = |ranges: &[String]| format!("{} beginbfrange\n{}endbfrange\n", ranges.len(), ranges.concat());
    format!(
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo <</Registry (Adobe)/Ordering (UCS)/Supplement 0>> def\n\
        /CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000><ffff>\nendcodespacerange\n{}\
        endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n",
        ranges.chunks(RANGES_MAX).map(section).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_drawing_blocks_and_braille_are_in_both_weights() {
        for font in [Font::regular().unwrap(), Font::bold().unwrap()] {
            for c in ('\u{2500}'..='\u{259f}').chain("aé€λЖ→✓●▶".chars()).chain([MISSING]) {
                assert!(font.face.glyph_index(c).is_some(), "{c} in {}", font.name);
            }
        }
    }

    #[test]
    fn a_code_is_a_character_in_its_plane_and_what_has_no_glyph_is_a_box_unless_it_takes_no_column() {
        let mut font = Font::regular().unwrap();
        assert_eq!(["a", "日", "👍"].map(|c| font.code(c.chars().next().unwrap())), [(0, 0x61), (0, 0x65e5), (1, 0xf44d)]);
        font.code('\u{e0100}');
        let glyph = |font: &Font, plane: usize, code: usize| {
            let map = font.glyph_map(plane);
            u16::from_be_bytes([map[2 * code], map[2 * code + 1]])
        };
        assert_eq!((glyph(&font, 0, 0x61), glyph(&font, 0, 0x65e5), glyph(&font, 1, 0xf44d)), (2, 1, 1));
        assert_eq!(glyph(&font, 14, 0x100), 3, "a variation selector is the glyph of a space");
        let map = |plane: usize| unicode_map(plane, font.used[plane].as_ref().unwrap());
        assert!(map(0).contains("2 beginbfrange\n<0000><00ff><0000>\n<6500><65ff><6500>\nendbfrange"));
        assert!(map(1).contains("1 beginbfrange\n<f400><f4ff><d83ddc00>\nendbfrange"));
        assert!(font.used[2].is_none());
    }
}
